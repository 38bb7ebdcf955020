/* What this CPU can do, asked once for all kernels. */
#ifndef NPUD_CPU_H
#define NPUD_CPU_H

#if defined(__x86_64__) || defined(__i386__)
/* Whether the CPU has AVX2 and the operating system saves its registers. */
static inline int npud_cpu_has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}
#endif

#endif
