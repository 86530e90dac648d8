/* Loops that are compiled for several machines at once.
 *
 * On x86-64 with an ifunc-capable toolchain each is compiled twice and the wider one is
 * picked at load time, so a wheel built for any machine still uses AVX2 where it exists.
 */
#ifndef PBAL_CLONES_H
#define PBAL_CLONES_H

#include <stddef.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define PBAL_CLONES __attribute__((target_clones("avx2,fma", "default")))
/* For loops whose every bit counts: nothing is fused on the wider machines. */
#define PBAL_CLONES_EXACT __attribute__((target_clones("avx2", "default")))
#else
#define PBAL_CLONES
#define PBAL_CLONES_EXACT
#endif

#endif
