/* Which kernels run on this CPU. */
#include "cpu.h"
#include "kernels.h"

const npud_kernels *npud_kernels_at(size_t index)
{
    const npud_kernels *variants[3];
    size_t count = 0;
#if defined(__x86_64__) || defined(__i386__)
    if (npud_cpu_has_avx2())
        variants[count++] = &npud_kernels_avx2;
#elif defined(__aarch64__)
    variants[count++] = &npud_kernels_neon;
#endif
    variants[count++] = &npud_kernels_scalar;
    return index < count ? variants[index] : NULL;
}

const npud_kernels *npud_kernels_named(const char *name)
{
    size_t i = 0;
    if (strcmp(name, "auto") == 0)
        return npud_kernels_best();
    while (npud_kernels_at(i) && strcmp(npud_kernels_at(i)->name, name) != 0)
        i++;
    return npud_kernels_at(i);
}

const npud_kernels *npud_kernels_best(void) { return npud_kernels_at(0); }
