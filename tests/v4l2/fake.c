/* A V4L2 capture driver in user space, for LD_PRELOAD: the kernel's header, no kernel.
 *
 * $NPUD_FAKE_V4L2 is a folder; a file video0 in it is the device /dev/video0 (or
 * /dev/v4l/by-id/video0) and describes it, a line each:
 *   card NAME                   mplane | output | nostream
 *   format CODE ALIGN QUANT     its rows are multiples of ALIGN bytes; v4l2_quantization
 *   size CODE W H FPS           a frame size and the highest rate at it
 *   range CODE W1 W2 STEP H1 H2 STEP
 *   set CODE W H                what it is set to when it is opened
 *   noparm                      no VIDIOC_G_PARM
 *   clock FLAGS                 timestamp flags of the buffers
 *   jpeg PATH                   what an MJPG buffer holds
 *   fault NAME N                eio, enodev, stall, error, short: from the N-th frame on;
 *                               error1, short1: the N-th only; busy: at VIDIOC_REQBUFS
 * enodev makes the file `gone`; while it is there the device is not, and without it faults are
 * over if there is a file `mended`.  Byte c of row r of plane p in frame s is 7r+3c+50p+11s, the
 * padding is 0xEE.  A buffer is written only while it is queued.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST 16
struct fmt { __u32 code, align, quant; };
struct size { __u32 code, kind, v[6]; double fps; };
struct device {
    int fd, mplane, output, nostream, noparm, streaming, buffers, fault_at, formats, sizes;
    char card[32], fault[16], jpeg[256];
    struct fmt fmt[MOST]; struct size size[MOST];
    __u32 code, w, h, clock, sequence, stride[2], rows[2], planes, bytes;
    size_t span;
    int queued[MOST], order[MOST], waiting;
    double fps;
};
static struct device devices[8];

static const char *folder(void) { return getenv("NPUD_FAKE_V4L2"); }
static int there(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    return access(path, F_OK) == 0;
}
static struct device *of(int fd)
{
    for (int i = 0; i < 8; i++)
        if (devices[i].card[0] && devices[i].fd == fd) return &devices[i];
    return NULL;
}
static __u32 four(const char *s) { return v4l2_fourcc(s[0], s[1], s[2], s[3]); }

static void parse(struct device *d, FILE *file)
{
    char line[512], word[32], code[8];
    strcpy(d->card, "Fake");
    d->clock = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    while (fgets(line, sizeof line, file)) {
        struct fmt *f = &d->fmt[d->formats];
        struct size *z = &d->size[d->sizes];
        if (sscanf(line, "%31s", word) != 1) continue;
        if (!strcmp(word, "card")) sscanf(line, "card %31[^\n]", d->card);
        if (!strcmp(word, "mplane")) d->mplane = 1;
        if (!strcmp(word, "output")) d->output = 1;
        if (!strcmp(word, "nostream")) d->nostream = 1;
        if (!strcmp(word, "noparm")) d->noparm = 1;
        if (!strcmp(word, "clock")) sscanf(line, "clock %i", (int *)&d->clock);
        if (!strcmp(word, "jpeg")) sscanf(line, "jpeg %255s", d->jpeg);
        if (!strcmp(word, "fault")) sscanf(line, "fault %15s %d", d->fault, &d->fault_at);
        if (!strcmp(word, "set") && sscanf(line, "set %7s %u %u", code, &d->w, &d->h) == 3) d->code = four(code);
        if (!strcmp(word, "format") && sscanf(line, "format %7s %u %u", code, &f->align, &f->quant) == 3)
            f->code = four(code), d->formats++;
        if (!strcmp(word, "size") && sscanf(line, "size %7s %u %u %lf", code, &z->v[0], &z->v[1], &z->fps) == 4)
            z->code = four(code), z->kind = V4L2_FRMSIZE_TYPE_DISCRETE, d->sizes++;
        if (!strcmp(word, "range") && sscanf(line, "range %7s %u %u %u %u %u %u", code, &z->v[0], &z->v[1], &z->v[2],
                                             &z->v[3], &z->v[4], &z->v[5]) == 7)
            z->code = four(code), z->kind = V4L2_FRMSIZE_TYPE_STEPWISE, d->sizes++;
    }
    if (there("mended")) d->fault[0] = 0;
    d->fps = 100;
}

static int fake_open(const char *path)
{
    char real[512];
    if (there("gone")) return errno = ENOENT, -1;
    snprintf(real, sizeof real, "%s/%s", folder(), strrchr(path, '/') + 1);
    FILE *file = fopen(real, "r");
    if (!file) return errno = ENOENT, -1;
    struct device *d = devices;
    while (d->card[0]) d++;
    memset(d, 0, sizeof *d);
    d->fd = memfd_create("fake-v4l2", 0);
    parse(d, file);
    fclose(file);
    return d->fd;
}
#define OPEN(name)                                                                              \
    int name(const char *path, int flags, ...)                                                  \
    {                                                                                           \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);                          \
        va_list a; va_start(a, flags); int mode = va_arg(a, int); va_end(a);                    \
        int fake = folder() && (!strncmp(path, "/dev/video", 10) || !strncmp(path, "/dev/v4l/", 9)); \
        return fake ? fake_open(path) : real(path, flags, mode);                                \
    }
OPEN(open)
OPEN(open64)

int close(int fd)
{
    int (*real)(int) = dlsym(RTLD_NEXT, "close");
    struct device *d = of(fd);
    if (d) d->card[0] = 0;
    return real(fd);
}

static int offered(struct device *d, __u32 code, __u32 w, __u32 h)
{
    for (int i = 0; i < d->sizes; i++) {
        struct size *z = &d->size[i];
        if (z->code != code) continue;
        if (z->kind == V4L2_FRMSIZE_TYPE_DISCRETE ? z->v[0] == w && z->v[1] == h
            : w >= z->v[0] && w <= z->v[1] && h >= z->v[3] && h <= z->v[4] && (w - z->v[0]) % z->v[2] == 0)
            return 1;
    }
    return 0;
}
/* What a driver does with a wish: the first format and size where it does not have that one. */
static void settle(struct device *d, __u32 code, __u32 w, __u32 h, __u32 *quant)
{
    struct fmt *f = NULL;
    for (int i = 0; i < d->formats; i++)
        if (d->fmt[i].code == code) f = &d->fmt[i];
    if (!f) f = &d->fmt[0];
    if (!offered(d, f->code, w, h))
        for (int i = d->sizes - 1; i >= 0; i--)
            if (d->size[i].code == f->code) w = d->size[i].v[0], h = d->size[i].v[d->size[i].kind == 1 ? 1 : 3];
    int two = f->code == V4L2_PIX_FMT_YUYV, three = f->code == V4L2_PIX_FMT_BGR24;
    d->code = f->code, d->w = w, d->h = h, *quant = f->quant;
    d->planes = f->code == V4L2_PIX_FMT_NV12M ? 2 : 1;
    d->stride[0] = d->stride[1] = (w * (three ? 3 : two ? 2 : 1) + f->align - 1) / f->align * f->align;
    d->rows[0] = f->code == V4L2_PIX_FMT_NV12 ? h * 3 / 2 : h;
    d->rows[1] = h / 2;
    if (f->code == V4L2_PIX_FMT_MJPEG) d->stride[0] = 0;
    d->bytes = f->code == V4L2_PIX_FMT_MJPEG ? w * h * 2 : d->stride[0] * d->rows[0];
    d->span = (d->bytes + 4095) / 4096 * 4096;
    for (int i = 0; i < d->sizes; i++)
        if (d->size[i].code == d->code && d->size[i].v[0] == w && d->size[i].v[1] == h) d->fps = d->size[i].fps;
}
static int format(struct device *d, struct v4l2_format *f, int set)
{
    __u32 quant = 0;
    if (f->type != (d->mplane ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE)) return EINVAL;
    if (set && d->buffers) return EBUSY;
    if (set && d->mplane) settle(d, f->fmt.pix_mp.pixelformat, f->fmt.pix_mp.width, f->fmt.pix_mp.height, &quant);
    if (set && !d->mplane) settle(d, f->fmt.pix.pixelformat, f->fmt.pix.width, f->fmt.pix.height, &quant);
    if (d->mplane) {
        struct v4l2_pix_format_mplane *p = &f->fmt.pix_mp;
        p->width = d->w, p->height = d->h, p->pixelformat = d->code, p->num_planes = d->planes, p->quantization = quant;
        for (__u32 i = 0; i < d->planes; i++)
            p->plane_fmt[i].bytesperline = d->stride[i], p->plane_fmt[i].sizeimage = d->stride[i] * d->rows[i];
    } else {
        struct v4l2_pix_format *p = &f->fmt.pix;
        p->width = d->w, p->height = d->h, p->pixelformat = d->code, p->quantization = quant;
        p->bytesperline = d->stride[0], p->sizeimage = d->bytes;
    }
    return 0;
}

/* Write a picture where the driver would: returns the bytes used. */
static __u32 paint(struct device *d, int index, __u32 p)
{
    unsigned char *memory = mmap(NULL, d->span, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, (index * 2 + p) * d->span);
    __u32 used = 0;
    if (d->code == V4L2_PIX_FMT_MJPEG) {
        FILE *file = fopen(d->jpeg, "r");
        used = file ? fread(memory, 1, d->span, file) : 0;
        if (file) fclose(file);
    } else {
        __u32 per = d->code == V4L2_PIX_FMT_YUYV ? 2 : d->code == V4L2_PIX_FMT_BGR24 ? 3 : 1;
        for (__u32 r = 0; r < d->rows[p]; r++)
            for (__u32 c = 0; c < d->stride[p]; c++)
                memory[r * d->stride[p] + c] = c < d->w * per ? 7 * r + 3 * c + 50 * p + 11 * d->sequence : 0xEE;
        used = d->stride[p] * d->rows[p];
    }
    munmap(memory, d->span);
    return used;
}
static int faulty(struct device *d, const char *name)
{
    char once[20];
    snprintf(once, sizeof once, "%s1", name);
    if (!strcmp(d->fault, once)) return (int)d->sequence == d->fault_at;
    return !strcmp(d->fault, name) && (int)d->sequence >= d->fault_at;
}
static void vanish(void)
{
    char path[512];
    const char *names[] = {"mended", "gone"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder(), names[i]);
        FILE *file = fopen(path, "w");
        if (file) fclose(file);
    }
}
static int dequeue(struct device *d, struct v4l2_buffer *b)
{
    if (!d->streaming) return EINVAL;
    if (faulty(d, "enodev")) return vanish(), ENODEV;
    if (faulty(d, "eio")) return EIO;
    if (!d->waiting) return EAGAIN;
    int index = d->order[0];
    memmove(d->order, d->order + 1, sizeof(int) * --d->waiting);
    d->queued[index] = 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    b->index = index, b->sequence = d->sequence, b->flags = d->clock;
    b->timestamp.tv_sec = now.tv_sec, b->timestamp.tv_usec = now.tv_nsec / 1000;
    if (faulty(d, "error")) b->flags |= V4L2_BUF_FLAG_ERROR;
    for (__u32 p = 0; p < d->planes; p++) {
        __u32 used = paint(d, index, p);
        if (faulty(d, "short")) used /= 2;
        if (d->mplane) b->m.planes[p].bytesused = used, b->m.planes[p].data_offset = 0;
        else b->bytesused = used;
    }
    d->sequence++;
    return 0;
}

static int answer(struct device *d, unsigned long request, void *argument)
{
    __u32 type = d->mplane ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_CAPTURE;
    struct v4l2_buffer *b = argument;
    __u32 n = 0;
    switch (request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *c = argument;
        strcpy((char *)c->driver, "fake");
        strcpy((char *)c->card, d->card);
        c->device_caps = d->output ? V4L2_CAP_VIDEO_OUTPUT : d->mplane ? V4L2_CAP_VIDEO_CAPTURE_MPLANE : V4L2_CAP_VIDEO_CAPTURE;
        c->device_caps |= d->nostream ? V4L2_CAP_READWRITE : V4L2_CAP_STREAMING;
        c->capabilities = c->device_caps | V4L2_CAP_DEVICE_CAPS | V4L2_CAP_VIDEO_CAPTURE;
        return 0;
    }
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *f = argument;
        if (f->type != type || (int)f->index >= d->formats) return EINVAL;
        f->pixelformat = d->fmt[f->index].code;
        return 0;
    }
    case VIDIOC_ENUM_FRAMESIZES: {
        struct v4l2_frmsizeenum *f = argument;
        for (int i = 0; i < d->sizes; i++)
            if (d->size[i].code == f->pixel_format && n++ == f->index) {
                f->type = d->size[i].kind;
                memcpy(&f->stepwise, d->size[i].v, sizeof f->stepwise);
                return 0;
            }
        return EINVAL;
    }
    case VIDIOC_ENUM_FRAMEINTERVALS: {
        struct v4l2_frmivalenum *f = argument;
        for (int i = 0; i < d->sizes; i++) {
            struct size *z = &d->size[i];
            if (z->code == f->pixel_format && z->fps && z->v[0] == f->width && z->v[1] == f->height && f->index < 2) {
                f->type = V4L2_FRMIVAL_TYPE_DISCRETE;
                f->discrete.numerator = 1000 * (f->index + 1), f->discrete.denominator = z->fps * 1000;
                return 0;
            }
        }
        return EINVAL;
    }
    case VIDIOC_G_FMT: return format(d, argument, 0);
    case VIDIOC_S_FMT: return format(d, argument, 1);
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_streamparm *p = argument;
        if (d->noparm) return ENOTTY;
        if (p->type != type) return EINVAL;
        if (request == VIDIOC_S_PARM) {
            double wish = (double)p->parm.capture.timeperframe.denominator / p->parm.capture.timeperframe.numerator;
            if (wish < d->fps) d->fps = wish;
        }
        p->parm.capture.timeperframe.numerator = 1000;
        p->parm.capture.timeperframe.denominator = d->fps * 1000;
        return 0;
    }
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *r = argument;
        if (!strcmp(d->fault, "busy")) return EBUSY;
        if (r->type != type || r->memory != V4L2_MEMORY_MMAP) return EINVAL;
        d->buffers = r->count;
        return ftruncate(d->fd, d->span * 2 * r->count) ? ENOMEM : 0;
    }
    case VIDIOC_QUERYBUF:
        if (b->type != type || (int)b->index >= d->buffers) return EINVAL;
        if (d->mplane) {
            if (b->length < d->planes) return EINVAL;
            for (__u32 p = 0; p < d->planes; p++)
                b->m.planes[p].length = d->span, b->m.planes[p].m.mem_offset = (b->index * 2 + p) * d->span;
            b->length = d->planes;
        } else
            b->length = d->span, b->m.offset = b->index * 2 * d->span;
        return 0;
    case VIDIOC_QBUF:
        if (b->type != type || b->memory != V4L2_MEMORY_MMAP || (int)b->index >= d->buffers || d->queued[b->index] ||
            (d->mplane && b->length != d->planes))
            return EINVAL;
        d->queued[b->index] = 1, d->order[d->waiting++] = b->index;
        return 0;
    case VIDIOC_DQBUF:
        if (b->type != type || b->memory != V4L2_MEMORY_MMAP || (d->mplane && b->length < d->planes)) return EINVAL;
        return dequeue(d, b);
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        if (*(__u32 *)argument != type) return EINVAL;
        d->streaming = request == VIDIOC_STREAMON;
        return 0;
    }
    return ENOTTY;
}
int ioctl(int fd, unsigned long request, ...)
{
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    va_list a; va_start(a, request); void *argument = va_arg(a, void *); va_end(a);
    struct device *d = of(fd);
    if (!d) return real(fd, request, argument);
    int error = answer(d, (__u32)request, argument);
    return error ? (errno = error, -1) : 0;
}
int poll(struct pollfd *p, nfds_t n, int timeout_ms)
{
    int (*real)(struct pollfd *, nfds_t, int) = dlsym(RTLD_NEXT, "poll");
    struct device *d = n == 1 ? of(p->fd) : NULL;
    if (!d) return real(p, n, timeout_ms);
    if (faulty(d, "stall") || !d->waiting) return usleep(timeout_ms * 1000), 0;
    usleep(1e6 / (d->fps > 0 ? d->fps : 100));
    p->revents = faulty(d, "enodev") ? POLLERR | POLLHUP : POLLIN;
    if (faulty(d, "enodev")) vanish();
    return 1;
}
