/* A stand-in for libdnn.so of the RDK X5, for D-Robotics' real Python binding to call.
 *
 * It computes nothing: the outputs come from the file STUB_DNN_TENSORS (written by dnn_tensors.py),
 * whatever the model file holds.  A picture whose first H·W bytes are all equal shows nothing, and
 * gets outputs of 0xC0 bytes (logits of -6).
 *
 *   STUB_DNN_FAULT   comma-separated, read at every call:
 *     CALL=CODE[@N]  the vendor's function CALL returns CODE (@N: only in the N-th inference)
 *     stale          an inference reports success and writes nothing
 *     nan            every float output is NaN
 *     shape          the first output says it were twice as high
 *     scale          scales are ten times as large
 *     delay=MS       an inference takes so long (delay=MS@N)
 *     crash@N        the process dies in the N-th inference
 *   STUB_DNN_INPUT   the bytes of the last picture are written to this file
 *
 * Own declarations, after D-Robotics' public documentation of the RDK. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define FAULT(call)                                                                                \
    do {                                                                                           \
        int code_ = fault(call);                                                                \
        if (code_)                                                                                 \
            return code_;                                                                          \
    } while (0)

enum { MAX_DIMS = 8, MAX_TENSORS = 16, FLOAT32 = 13, NV12 = 1, LAYOUT_NCHW = 2, PER_SCALE = 2 };
enum { FAILED = -6000001, TOO_SMALL = -6000128 };

typedef struct {
    int32_t dims[MAX_DIMS], count;
} shape_t;

typedef struct {
    shape_t valid, aligned;
    int32_t layout, type;
    struct {
        int32_t count;
        uint8_t *data;
    } shift;
    struct {
        int32_t count;
        float *data;
        int32_t zero_count;
        int8_t *zero_data;
    } scale;
    int32_t quantization, axis, bytes, stride[MAX_DIMS];
} properties_t;

typedef struct {
    uint64_t physical;
    void *virtual;
    uint32_t size;
} memory_t;

typedef struct {
    memory_t memory[4];
    properties_t properties;
} tensor_t;

/* As in the file: the header, `count` scales and `bytes` of data follow one another. */
typedef struct {
    char name[64];
    int32_t type, layout, scale_count, dim_count, dims[4], bytes;
} record_t;

typedef struct {
    record_t record;
    float *scales;
    uint8_t *data;
} stored_t;

typedef struct {
    char name[32];
    const char *names[1];
    int32_t height, width, count;
    stored_t outputs[MAX_TENSORS];
} model_t;

/* Where the real library says what it is. */
API const char *hbDNNGetVersion(void)
{
    return "1.24.5_(3.15.55 HBRT)";
}

static int inferences; /* since the last model was loaded */

/* The number behind NAME= of STUB_DNN_FAULT, 1 for a bare NAME, 0 where it is not there. */
static int fault(const char *name)
{
    const char *at = getenv("STUB_DNN_FAULT");
    size_t size = strlen(name);
    while (at && *at) {
        size_t length = strcspn(at, ",");
        if (strncmp(at, name, size) == 0 && (length == size || at[size] == '=' || at[size] == '@')) {
            const char *number = memchr(at, '=', length), *only = memchr(at, '@', length);
            if (!only || atoi(only + 1) == inferences)
                return number ? atoi(number + 1) : 1;
        }
        at += length + (at[length] == ',');
    }
    return 0;
}

static int load(model_t *model, FILE *file)
{
    char magic[8];
    if (fread(magic, 1, 8, file) != 8 || memcmp(magic, "NPUDSTUB", 8))
        return -1;
    if (fread(&model->height, 4, 3, file) != 3 || model->count > MAX_TENSORS)
        return -1;
    for (int i = 0; i < model->count; i++) {
        stored_t *s = &model->outputs[i];
        if (fread(&s->record, sizeof s->record, 1, file) != 1)
            return -1;
        size_t scales = (size_t)s->record.scale_count, bytes = (size_t)s->record.bytes;
        s->scales = calloc(scales + 1, sizeof *s->scales);
        s->data = malloc(bytes);
        if (fread(s->scales, 4, scales, file) != scales || fread(s->data, 1, bytes, file) != bytes)
            return -1;
    }
    return 0;
}

API int hbDNNInitializeFromFiles(void **handle, const char **files, int32_t count)
{
    const char *path = getenv("STUB_DNN_TENSORS");
    FILE *given = fopen(files[0], "rb"), *file = path ? fopen(path, "rb") : NULL;
    model_t *model = calloc(1, sizeof *model);
    (void)count;
    FAULT("hbDNNInitializeFromFiles");
    if (!given || !file || load(model, file) < 0)
        return FAILED;
    fclose(given);
    fclose(file);
    strcpy(model->name, "stub");
    model->names[0] = model->name;
    inferences = 0;
    *handle = model;
    return 0;
}

API int hbDNNGetModelNameList(const char ***names, int32_t *count, void *handle)
{
    FAULT("hbDNNGetModelNameList");
    *names = ((model_t *)handle)->names;
    *count = 1;
    return 0;
}

API int hbDNNGetModelHandle(void **out, void *handle, const char *name)
{
    (void)name;
    FAULT("hbDNNGetModelHandle");
    *out = handle;
    return 0;
}

API int hbDNNGetInputCount(int32_t *count, void *handle)
{
    (void)handle;
    FAULT("hbDNNGetInputCount");
    *count = 1;
    return 0;
}

API int hbDNNGetOutputCount(int32_t *count, void *handle)
{
    FAULT("hbDNNGetOutputCount");
    *count = ((model_t *)handle)->count;
    return 0;
}

API int hbDNNGetInputName(const char **name, void *handle, int32_t index)
{
    (void)handle, (void)index;
    FAULT("hbDNNGetInputName");
    *name = "images";
    return 0;
}

API int hbDNNGetOutputName(const char **name, void *handle, int32_t index)
{
    FAULT("hbDNNGetOutputName");
    *name = ((model_t *)handle)->outputs[index].record.name;
    return 0;
}

API int hbDNNGetInputTensorProperties(properties_t *p, void *handle, int32_t index)
{
    const model_t *model = handle;
    (void)index;
    FAULT("hbDNNGetInputTensorProperties");
    memset(p, 0, sizeof *p);
    p->valid = (shape_t){{1, 3, model->height, model->width}, 4};
    p->aligned = p->valid;
    p->layout = LAYOUT_NCHW;
    p->type = NV12;
    p->bytes = model->height * model->width * 3 / 2;
    return 0;
}

API int hbDNNGetOutputTensorProperties(properties_t *p, void *handle, int32_t index)
{
    const stored_t *s = &((model_t *)handle)->outputs[index];
    FAULT("hbDNNGetOutputTensorProperties");
    memset(p, 0, sizeof *p);
    p->valid.count = s->record.dim_count;
    memcpy(p->valid.dims, s->record.dims, sizeof s->record.dims);
    if (index == 0 && fault("shape"))
        p->valid.dims[1] *= 2;
    p->aligned = p->valid;
    p->layout = s->record.layout;
    p->type = s->record.type;
    p->bytes = s->record.bytes;
    p->axis = 3;
    if (s->record.scale_count) {
        p->quantization = PER_SCALE;
        p->scale.count = s->record.scale_count;
        p->scale.data = malloc(4 * (size_t)p->scale.count);
        for (int i = 0; i < p->scale.count; i++)
            p->scale.data[i] = s->scales[i] * (fault("scale") ? 10 : 1);
    }
    return 0;
}

static int shows_nothing(const model_t *model, const uint8_t *picture)
{
    return memcmp(picture, picture + 1, (size_t)(model->height * model->width - 1)) == 0;
}

static void keep_input(const memory_t *memory)
{
    const char *path = getenv("STUB_DNN_INPUT");
    FILE *file = path ? fopen(path, "wb") : NULL;
    if (!file)
        return;
    fwrite(memory->virtual, 1, memory->size, file);
    fclose(file);
}

static void write_output(const stored_t *s, uint8_t *to, int empty)
{
    if (empty)
        memset(to, 0xC0, (size_t)s->record.bytes);
    else
        memcpy(to, s->data, (size_t)s->record.bytes);
    if (s->record.type == FLOAT32 && fault("nan"))
        memset(to, 0xFF, (size_t)s->record.bytes);
}

API int hbDNNInfer(void **task, tensor_t **outputs, const tensor_t *input, void *handle, void *how)
{
    model_t *model = handle;
    int empty = shows_nothing(model, input->memory[0].virtual);
    (void)how;
    inferences++;
    FAULT("hbDNNInfer");
    if (fault("crash"))
        abort();
    usleep((useconds_t)fault("delay") * 1000);
    keep_input(&input->memory[0]);
    for (int i = 0; i < model->count && !fault("stale"); i++) {
        memory_t *memory = &(*outputs)[i].memory[0];
        if (memory->size < (uint32_t)model->outputs[i].record.bytes)
            return TOO_SMALL;
        write_output(&model->outputs[i], memory->virtual, empty);
    }
    *task = model;
    return 0;
}

API int hbDNNWaitTaskDone(void *task, int32_t timeout_ms)
{
    (void)task, (void)timeout_ms;
    FAULT("hbDNNWaitTaskDone");
    return 0;
}

API int hbDNNReleaseTask(void *task)
{
    (void)task;
    FAULT("hbDNNReleaseTask");
    return 0;
}

API int hbDNNRelease(void *handle)
{
    (void)handle;
    FAULT("hbDNNRelease");
    return 0;
}

API int hbSysAllocCachedMem(memory_t *memory, uint32_t size)
{
    FAULT("hbSysAllocCachedMem");
    memory->virtual = calloc(1, size + 64);
    memory->physical = (uint64_t)(uintptr_t)memory->virtual;
    memory->size = size;
    return memory->virtual ? 0 : -1;
}

API int hbSysFlushMem(memory_t *memory, int32_t flag)
{
    (void)memory, (void)flag;
    FAULT("hbSysFlushMem");
    return 0;
}

API int hbSysFreeMem(memory_t *memory)
{
    FAULT("hbSysFreeMem");
    free(memory->virtual);
    memory->virtual = NULL;
    return 0;
}
