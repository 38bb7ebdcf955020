/* Which pixel kernels run on this CPU. */
#include "cpu.h"
#include "pixels.h"

const npud_pixel_kernels *npud_pixel_kernels_at(size_t index)
{
    const npud_pixel_kernels *variants[3];
    size_t count = 0;
#if defined(__x86_64__) || defined(__i386__)
    if (npud_cpu_has_avx2())
        variants[count++] = &npud_pixels_avx2;
#elif defined(__aarch64__)
    variants[count++] = &npud_pixels_neon;
#endif
    variants[count++] = &npud_pixels_scalar;
    return index < count ? variants[index] : NULL;
}

const npud_pixel_kernels *npud_pixel_kernels_named(const char *name)
{
    size_t i = 0;
    if (strcmp(name, "auto") == 0)
        return npud_pixel_kernels_at(0);
    while (npud_pixel_kernels_at(i) && strcmp(npud_pixel_kernels_at(i)->name, name) != 0)
        i++;
    return npud_pixel_kernels_at(i);
}
