/* A librknnrt.so without an NPU, for tests.  It is handed a real .rknn file and serves the tensors
 * of a side file (tests/board/stub_tensors.py writes it): per frame the outputs that belong to an
 * input with a given checksum, or to any input.  Own declarations of the public C API.
 *
 *   STUB_TENSORS=FILE      the side file; without it every model is refused
 *   STUB_FAULT=CALL=CODE[@N],…   CALL returns CODE (its Nth call only); CODE may be crash, hang, null
 *   STUB_OUTPUT=stale|nan|echo   rknn_run writes nothing; NaN; the input's checksum in the first
 *                          four elements of output 0
 *   STUB_ATTR=shape|size|type|count  what rknn_query says of the outputs is wrong
 *   STUB_API, STUB_DRIVER  version texts;  STUB_RUN_US  how long rknn_run takes
 *
 * Memory of rknn_create_mem has a device side of its own: without rknn_mem_sync nothing arrives. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
enum { F32, F16, I8, U8, I16, U16, I32, U32, I64 };
enum { NCHW, NHWC, NC1HWC2, UNDEFINED };
enum { MAX_IO = 32, MAX_CONTEXTS = 64, C2 = 16 };
enum { FAIL = -1, PARAM_INVALID = -5, MODEL_INVALID = -6, CTX_INVALID = -7, INPUT_INVALID = -8, OUTPUT_INVALID = -9 };
/* what tools look for in the file */
API const char stub_version[] = "librknnrt version: 2.5.0 (stub@2025-01-01T00:00:00)";
static const uint32_t SIZES[] = {4, 2, 1, 1, 2, 2, 4, 4, 8};

typedef uint64_t context_t;
typedef struct { uint32_t inputs, outputs; } counts_t;
typedef struct {
    uint32_t index, n_dims, dims[16];
    char name[256];
    uint32_t n_elems, size, fmt, type, qnt_type;
    int8_t fl;
    int32_t zp;
    float scale;
    uint32_t w_stride, size_with_stride;
    uint8_t pass_through;
    uint32_t h_stride;
} attr_t;
typedef struct { uint32_t index; void *buf; uint32_t size; uint8_t pass_through; uint32_t type, fmt; } input_t;
typedef struct { uint8_t want_float, is_prealloc; uint32_t index; void *buf; uint32_t size; } output_t;
typedef struct { char api[256], driver[256]; } version_t;
typedef struct { void *virt; uint64_t phys; int32_t fd, offset; uint32_t size, flags; void *device; } mem_t;

/* the side file: header, descriptions, then per frame a checksum (0: any input) and the outputs */
typedef struct { char magic[8]; uint32_t inputs, outputs, frames, reserved; } header_t;
typedef struct { char name[64]; uint32_t fmt, type, qnt_type; int32_t zp; float scale; uint32_t n_dims, dims[8]; } record_t;

typedef struct { int users; uint8_t *blob; const uint8_t *frames; size_t frame_size; header_t head; attr_t attrs[2][MAX_IO]; } model_t;
typedef struct { mem_t *mem; attr_t attr; } bound_t;
typedef struct { model_t *model; uint8_t *input, *output[MAX_IO]; bound_t bound[2][MAX_IO]; uint64_t checksum; int mask, ran; } state_t;

/* what a test may ask: stub_counts() */
typedef struct { uint64_t inits, dups, contexts, mems, runs, bytes_in, bytes_out, floats_out, last_checksum, runs_on_mask[8]; } stub_counts_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static state_t *contexts[MAX_CONTEXTS];
static stub_counts_t counted;
#define COUNT(field, by) __atomic_add_fetch(&counted.field, (uint64_t)(by), __ATOMIC_RELAXED)

API void stub_counts(stub_counts_t *out) { memcpy(out, &counted, sizeof counted); }

static int is(const char *variable, const char *value)
{
    const char *set = getenv(variable);
    return set && strcmp(set, value) == 0;
}

/* The code to return instead of doing the call's work; 0 for none.  `null` is 1. */
static int fault(const char *call)
{
    static struct { char name[32]; int calls; } seen[32];
    const char *at = getenv("STUB_FAULT");
    size_t length = strlen(call);
    int nth = 0, number = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 32 && !nth; i++)
        if (!seen[i].name[0] || strcmp(seen[i].name, call) == 0) {
            strcpy(seen[i].name, call);
            nth = ++seen[i].calls;
        }
    pthread_mutex_unlock(&lock);
    for (; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, call, length) || at[length] != '=')
            continue;
        char code[16] = "";
        sscanf(at + length + 1, "%15[^@,]@%d", code, &number);
        if (number && number != nth)
            continue;
        if (strcmp(code, "crash") == 0)
            abort();
        while (strcmp(code, "hang") == 0)
            pause();
        return strcmp(code, "null") == 0 ? 1 : atoi(code);
    }
    return 0;
}

#define TRY(call) do { int code_ = fault(call); if (code_) return code_; } while (0)

static state_t *find(context_t handle)
{
    state_t *state = NULL;
    pthread_mutex_lock(&lock);
    if (handle >= 1 && handle <= MAX_CONTEXTS)
        state = contexts[handle - 1];
    pthread_mutex_unlock(&lock);
    return state;
}

static int open_context(context_t *handle, model_t *model)
{
    state_t *state = calloc(1, sizeof *state);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_CONTEXTS; i++)
        if (!contexts[i]) {
            contexts[i] = state;
            *handle = (context_t)i + 1;
            break;
        }
    model->users++;
    pthread_mutex_unlock(&lock);
    state->model = model;
    for (uint32_t i = 0; i < model->head.outputs; i++)
        state->output[i] = calloc(1, model->attrs[1][i].size);
    COUNT(contexts, 1);
    return 0;
}

static void describe(attr_t *attr, uint32_t index, const record_t *r)
{
    attr->index = index;
    attr->n_dims = r->n_dims;
    attr->n_elems = 1;
    for (uint32_t d = 0; d < r->n_dims && d < 8; d++) {
        attr->dims[d] = r->dims[d];
        attr->n_elems *= r->dims[d];
    }
    snprintf(attr->name, sizeof attr->name, "%s", r->name);
    attr->fmt = r->fmt, attr->type = r->type, attr->qnt_type = r->qnt_type;
    attr->zp = r->zp, attr->scale = r->scale;
    attr->size = attr->size_with_stride = attr->n_elems * SIZES[r->type];
    attr->w_stride = r->fmt == NHWC ? r->dims[2] : 0;
}

static model_t *read_tensors(const char *path)
{
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    model_t *model = calloc(1, sizeof *model);
    model->blob = malloc((size_t)size);
    size_t got = fread(model->blob, 1, (size_t)size, file);
    fclose(file);
    memcpy(&model->head, model->blob, sizeof model->head);
    if (got != (size_t)size || memcmp(model->head.magic, "NPUDSTUB", 8) || model->head.inputs > MAX_IO || model->head.outputs > MAX_IO)
        return NULL;
    const record_t *records = (const record_t *)(model->blob + sizeof model->head);
    model->frame_size = 8;
    for (uint32_t i = 0; i < model->head.inputs; i++)
        describe(&model->attrs[0][i], i, records++);
    for (uint32_t i = 0; i < model->head.outputs; i++) {
        describe(&model->attrs[1][i], i, records++);
        model->frame_size += model->attrs[1][i].size;
    }
    model->frames = (const uint8_t *)records;
    return model;
}

API int rknn_init(context_t *handle, void *data, uint32_t size, uint32_t flag, void *extend)
{
    (void)flag, (void)extend;
    TRY("rknn_init");
    model_t *model = size >= 64 && !memcmp(data, "RKNN\0\0\0\0", 8) ? read_tensors(getenv("STUB_TENSORS")) : NULL;
    COUNT(inits, 1);
    return model ? open_context(handle, model) : MODEL_INVALID;
}

API int rknn_dup_context(context_t *from, context_t *to)
{
    TRY("rknn_dup_context");
    state_t *state = find(*from);
    COUNT(dups, 1);
    return state ? open_context(to, state->model) : CTX_INVALID;
}

API int rknn_destroy(context_t handle)
{
    state_t *state = find(handle);
    TRY("rknn_destroy");
    if (!state)
        return CTX_INVALID;
    pthread_mutex_lock(&lock);
    contexts[handle - 1] = NULL;
    int left = --state->model->users;
    pthread_mutex_unlock(&lock);
    for (uint32_t i = 0; i < state->model->head.outputs; i++)
        free(state->output[i]);
    if (!left) {
        free(state->model->blob);
        free(state->model);
    }
    free(state->input);
    free(state);
    COUNT(contexts, -1);
    return 0;
}

/* What the NPU itself writes: channels in groups of C2, innermost. */
static void make_native(attr_t *attr)
{
    if (attr->n_dims != 4 || attr->fmt != NCHW)
        return;
    uint32_t groups = (attr->dims[1] + C2 - 1) / C2;
    attr->n_dims = 5, attr->fmt = NC1HWC2;
    attr->dims[4] = C2, attr->dims[1] = groups;
    attr->n_elems = attr->dims[0] * groups * attr->dims[2] * attr->dims[3] * C2;
    attr->size = attr->size_with_stride = attr->n_elems * SIZES[attr->type];
}

static int query_attr(const model_t *model, int side, int native, attr_t *attr)
{
    if (attr->index >= (side ? model->head.outputs : model->head.inputs))
        return PARAM_INVALID;
    *attr = model->attrs[side][attr->index];
    if (native)
        make_native(attr);
    if (side && is("STUB_ATTR", "shape"))
        attr->dims[attr->n_dims - 1] += 1;
    if (side && is("STUB_ATTR", "size"))
        attr->size /= 2;
    if (side && is("STUB_ATTR", "type"))
        attr->type = 99;
    return 0;
}

API int rknn_query(context_t handle, int command, void *info, uint32_t size)
{
    TRY("rknn_query");
    state_t *state = find(handle);
    if (!state)
        return CTX_INVALID;
    const char *api = getenv("STUB_API"), *driver = getenv("STUB_DRIVER");
    switch (command) {
    case 0:
        *(counts_t *)info = (counts_t){state->model->head.inputs, state->model->head.outputs};
        ((counts_t *)info)->outputs += (uint32_t)is("STUB_ATTR", "count");
        return 0;
    case 1: case 2:
        return query_attr(state->model, command == 2, 0, info);
    case 8: case 9:
        return query_attr(state->model, command == 9, 1, info);
    case 5:
        memset(info, 0, size);
        snprintf(((version_t *)info)->api, 256, "%s", api ? api : "2.5.0 (stub@2025-01-01T00:00:00)");
        snprintf(((version_t *)info)->driver, 256, "%s", driver ? driver : "0.9.8");
        return 0;
    default:
        return PARAM_INVALID;
    }
}

API int rknn_set_core_mask(context_t handle, int mask)
{
    TRY("rknn_set_core_mask");
    state_t *state = find(handle);
    if (!state || mask < 0 || (mask > 7 && mask != 0xffff))
        return state ? PARAM_INVALID : CTX_INVALID;
    state->mask = mask;
    return 0;
}

API int rknn_inputs_set(context_t handle, uint32_t count, input_t *inputs)
{
    TRY("rknn_inputs_set");
    state_t *state = find(handle);
    if (!state)
        return CTX_INVALID;
    if (count != 1 || inputs[0].index != 0 || inputs[0].size != state->model->attrs[0][0].n_elems)
        return INPUT_INVALID;
    free(state->input);
    state->input = malloc(inputs[0].size);
    memcpy(state->input, inputs[0].buf, inputs[0].size);
    COUNT(bytes_in, inputs[0].size);
    return 0;
}

/* sum of little-endian 64-bit words, each times an odd number of its own; the tail padded with 0 */
static uint64_t checksum(const uint8_t *data, size_t size)
{
    uint64_t sum = 0, word;
    for (size_t i = 0; i * 8 < size; i++) {
        word = 0;
        memcpy(&word, data + i * 8, size - i * 8 < 8 ? size - i * 8 : 8);
        sum += word * (2 * i + 1) * 0x9e3779b97f4a7c15u;
    }
    return sum ? sum : 1;
}

static float half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
    float value;
    if (exponent == 0) {
        value = (float)mantissa / 16777216.0f;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13;
    memcpy(&value, &bits, 4);
    return value;
}

static void to_float(const attr_t *a, const uint8_t *raw, float *out)
{
    for (uint32_t i = 0; i < a->n_elems; i++)
        out[i] = a->type == I8 ? (float)((int8_t)raw[i] - a->zp) * a->scale
                 : a->type == U8 ? (float)(raw[i] - a->zp) * a->scale
                 : a->type == F16 ? half(((const uint16_t *)raw)[i]) : ((const float *)raw)[i];
    if (is("STUB_OUTPUT", "nan"))
        for (uint32_t i = 0; i < a->n_elems; i++)
            out[i] = __builtin_nanf("");
}

static void to_native(const attr_t *a, const uint8_t *raw, uint8_t *out)
{
    uint32_t cells = a->dims[2] * a->dims[3], bytes = SIZES[a->type];
    for (uint32_t c = 0; c < a->dims[1]; c++)
        for (uint32_t i = 0; i < cells; i++)
            memcpy(out + ((c / C2 * cells + i) * C2 + c % C2) * bytes, raw + (c * cells + i) * bytes, bytes);
}

/* The outputs of the frame whose input this is, else of the frame for any input, else none: the
 * lowest number there is goes out then. */
static const uint8_t *choose(const model_t *model, uint64_t sum)
{
    const uint8_t *any = NULL;
    for (uint32_t f = 0; f < model->head.frames; f++) {
        const uint8_t *frame = model->frames + f * model->frame_size;
        uint64_t wanted;
        memcpy(&wanted, frame, 8);
        if (wanted == sum)
            return frame + 8;
        if (wanted == 0)
            any = frame + 8;
    }
    return any;
}

static uint32_t deliver(const attr_t *a, const attr_t *wanted, const uint8_t *raw, void *out)
{
    if (wanted->type == F32 && a->type != F32) {
        to_float(a, raw, out);
        COUNT(floats_out, a->n_elems);
        return a->n_elems * 4;
    }
    if (wanted->fmt == NC1HWC2)
        to_native(a, raw, out);
    else
        memcpy(out, raw, a->size);
    return wanted->fmt == NC1HWC2 ? wanted->size : a->size;
}

static void compute(state_t *state)
{
    model_t *model = state->model;
    mem_t *in = state->bound[0][0].mem;
    const uint8_t *frame = choose(model, state->checksum);
    if (in)
        COUNT(bytes_in, in->size);
    for (uint32_t i = 0; i < model->head.outputs; i++) {
        attr_t *a = &model->attrs[1][i];
        if (frame)
            memcpy(state->output[i], frame, a->size);
        else
            memset(state->output[i], a->type == I8 ? -128 : 0, a->size);
        frame += frame ? a->size : 0;
        for (uint32_t b = 0; b < 4 && i == 0 && is("STUB_OUTPUT", "echo"); b++)
            state->output[0][b] = (uint8_t)((state->checksum ^ state->checksum >> 32) >> 8 * b);
        if (is("STUB_OUTPUT", "nan") && a->type != I8 && a->type != U8)
            memset(state->output[i], 0xff, a->size);
        bound_t *bound = &state->bound[1][i];
        if (bound->mem)
            COUNT(bytes_out, deliver(a, &bound->attr, state->output[i], bound->mem->device));
    }
}

API int rknn_run(context_t handle, void *extend)
{
    const char *wait = getenv("STUB_RUN_US");
    (void)extend;
    TRY("rknn_run");
    state_t *state = find(handle);
    if (!state)
        return CTX_INVALID;
    mem_t *in = state->bound[0][0].mem;
    if (!in && !state->input)
        return INPUT_INVALID;
    if (wait)
        usleep((useconds_t)atoi(wait));
    state->checksum = checksum(in ? in->device : state->input, state->model->attrs[0][0].n_elems);
    counted.last_checksum = state->checksum;
    COUNT(runs, 1);
    COUNT(runs_on_mask[state->mask & 7], 1);
    if (!is("STUB_OUTPUT", "stale"))
        compute(state);
    return 0;
}

API int rknn_wait(context_t handle, void *extend) { (void)extend; return find(handle) ? 0 : CTX_INVALID; }

API int rknn_outputs_get(context_t handle, uint32_t count, output_t *outputs, void *extend)
{
    (void)extend;
    TRY("rknn_outputs_get");
    state_t *state = find(handle);
    if (!state)
        return CTX_INVALID;
    for (uint32_t i = 0; i < count; i++) {
        output_t *out = &outputs[i];
        attr_t *a = &state->model->attrs[1][out->index], wanted = *a;
        if (out->want_float)
            wanted.type = F32;
        uint32_t need = a->n_elems * SIZES[wanted.type];
        if (out->is_prealloc && out->size < need)
            return OUTPUT_INVALID;
        if (!out->is_prealloc)
            out->buf = malloc(need);
        out->size = need;
        COUNT(bytes_out, deliver(a, &wanted, state->output[out->index], out->buf));
    }
    return 0;
}

API int rknn_outputs_release(context_t handle, uint32_t count, output_t *outputs)
{
    (void)handle;
    for (uint32_t i = 0; i < count; i++)
        if (!outputs[i].is_prealloc)
            free(outputs[i].buf);
    return fault("rknn_outputs_release");
}

API mem_t *rknn_create_mem(context_t handle, uint32_t size)
{
    if (!find(handle) || fault("rknn_create_mem"))
        return NULL;
    mem_t *mem = calloc(1, sizeof *mem);
    mem->virt = calloc(1, size);
    mem->device = calloc(1, size);
    mem->size = size;
    COUNT(mems, 1);
    return mem;
}

API int rknn_destroy_mem(context_t handle, mem_t *mem)
{
    TRY("rknn_destroy_mem");
    if (!find(handle))
        return CTX_INVALID;
    free(mem->virt);
    free(mem->device);
    free(mem);
    COUNT(mems, -1);
    return 0;
}

API int rknn_set_io_mem(context_t handle, mem_t *mem, attr_t *attr)
{
    TRY("rknn_set_io_mem");
    state_t *state = find(handle);
    if (!state)
        return CTX_INVALID;
    model_t *model = state->model;
    int side = attr->index >= model->head.inputs || strcmp(attr->name, model->attrs[0][attr->index].name) != 0;
    uint32_t need = side == 0 ? attr->n_elems : attr->n_elems * SIZES[attr->type];
    if (attr->index >= (side ? model->head.outputs : model->head.inputs) || mem->size < need)
        return PARAM_INVALID;
    state->bound[side][attr->index] = (bound_t){mem, *attr};
    return 0;
}

API int rknn_mem_sync(context_t handle, mem_t *mem, int mode)
{
    TRY("rknn_mem_sync");
    if (!find(handle))
        return CTX_INVALID;
    if (mode & 1)
        memcpy(mem->device, mem->virt, mem->size);
    if (mode & 2)
        memcpy(mem->virt, mem->device, mem->size);
    return 0;
}

API int rknn_set_input_shapes(context_t h, uint32_t n, attr_t *a) { (void)n, (void)a; return find(h) ? 0 : CTX_INVALID; }
API int rknn_set_batch_core_num(context_t h, int n) { (void)n; return find(h) ? 0 : CTX_INVALID; }
