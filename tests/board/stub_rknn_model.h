/* What stub_rknnrt.c serves: the API's types, the side file, checksums and conversions. */
#include "stub_control.h"

enum { F32, F16, I8, U8, I16, U16, I32, U32, I64 };
enum { NCHW, NHWC, NC1HWC2, UNDEFINED };
enum { MAX_IO = 32, MAX_CONTEXTS = 64, C2 = 16 };
enum { FAIL = -1, PARAM_INVALID = -5, MODEL_INVALID = -6, CTX_INVALID = -7, INPUT_INVALID = -8, OUTPUT_INVALID = -9 };
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
typedef struct { model_t *model; uint8_t *input, *output[MAX_IO]; bound_t bound[2][MAX_IO]; uint64_t checksum; int mask, broken; } state_t;

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

/* Write an output as the caller wants it; the number of bytes. */
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
