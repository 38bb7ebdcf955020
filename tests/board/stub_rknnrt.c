/* A librknnrt.so without an NPU, for tests.  It is handed a real .rknn file and serves the tensors
 * of a side file (tests/board/stub_tensors.py writes it): per frame the outputs that belong to an
 * input with a given checksum, or to any input.  Own declarations of the public C API.
 *
 *   STUB_TENSORS=FILE      the side file; without it every model is refused
 *   STUB_FAULT=CALL=CODE[@N],…   CALL returns CODE (its Nth call only); CODE may be crash, hang, null
 *   STUB_OUTPUT=stale|nan|echo   rknn_run writes nothing; NaN; the input's checksum in the first
 *                          four elements of output 0
 *   STUB_ATTR=shape|size|type|count|native  what rknn_query says of the outputs is wrong
 *   STUB_MAX_MEMS=N        rknn_create_mem gives none while N are alive
 *   STUB_API, STUB_DRIVER  version texts;  STUB_RUN_US  how long rknn_run takes
 *
 * Memory of rknn_create_mem has a device side of its own: without rknn_mem_sync nothing arrives.
 * A context that runs after memory bound to it was destroyed says so. */
#include "stub_rknn_model.h"

#define API __attribute__((visibility("default")))
/* what tools look for in the file */
API const char stub_version[] = "librknnrt version: 2.5.0 (stub@2025-01-01T00:00:00)";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static state_t *contexts[MAX_CONTEXTS];
API void stub_counts(stub_counts_t *out) { memcpy(out, &counted, sizeof counted); }

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

static int query_attr(const model_t *model, int side, int native, attr_t *attr)
{
    if (attr->index >= (side ? model->head.outputs : model->head.inputs))
        return PARAM_INVALID;
    *attr = model->attrs[side][attr->index];
    if (native && !is("STUB_ATTR", "native"))
        make_native(attr);
    if (side && is("STUB_ATTR", "shape")) {
        attr->n_elems -= attr->n_elems / attr->dims[attr->n_dims - 1];
        attr->dims[attr->n_dims - 1] -= 1;
        attr->size = attr->size_with_stride = attr->n_elems * SIZES[attr->type];
    }
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
        ((counts_t *)info)->outputs -= (uint32_t)is("STUB_ATTR", "count");
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
    if (!state || state->broken)
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
    const char *most = getenv("STUB_MAX_MEMS");
    if (!find(handle) || fault("rknn_create_mem") || (most && counted.mems >= (uint64_t)atoi(most)))
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
    state_t *state = find(handle);
    if (!state)
        return CTX_INVALID;
    for (int i = 0; i < 2 * MAX_IO; i++)
        state->broken |= state->bound[i / MAX_IO][i % MAX_IO].mem == mem;
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
