# Forecast levels as currents, with what is known of each home now. Included by _outlook.pyx.

cdef void expected(const double *levels, Py_ssize_t m, Py_ssize_t n, const double *level,
                   const double complex *now, const double complex *recent,
                   const unsigned char *seen, const double *share, double steps,
                   double complex *out, Py_ssize_t apart) noexcept nogil:
    """Forecast levels [m, n] A as currents: out [m, n], rows so far `apart`."""
    cdef Py_ssize_t i, h
    cdef double re, im, lean, change
    for h in range(n):
        if not seen[h]:
            for i in range(m):
                out[i * apart + h] = now[h]
            continue
        lean = 0.0
        if now[h].real > 0.2 * hypot(now[h].real, now[h].imag):
            lean = now[h].imag / now[h].real
        for i in range(m):
            change = (levels[i * n + h] - level[h]) * steps
            re = change + now[h].real
            im = change * lean + now[h].imag
            out[i * apart + h].real = re + (recent[h].real - re) * share[i]
            out[i * apart + h].imag = im + (recent[h].imag - im) * share[i]


def currents(const double[:, ::1] levels, const double[::1] level, const double complex[::1] now,
             const double complex[::1] recent, known, const double[::1] share, double steps,
             double complex[:, ::1] out):
    """Forecast levels float64[k, n] A as currents, into `out` complex[k, n].

    A change of level goes with the reactive part that the home has now, by `steps` of it; then
    share [k] of the mean of the recent past is mixed in. Unknown homes stay at `now`.
    """
    cdef const unsigned char[::1] seen = known.view(np.uint8)
    cdef Py_ssize_t m = levels.shape[0], n = levels.shape[1]
    if m and n:
        expected(&levels[0, 0], m, n, &level[0], &now[0], &recent[0], &seen[0], &share[0], steps,
                 &out[0, 0], n)


def ways(const double[:, :, ::1] levels, const double[::1] level, const double complex[::1] now,
         const double complex[::1] recent, known, const double[::1] share, double steps,
         const double complex[:, ::1] scenarios):
    """The same of several ways float64[ways, m, n] A: complex[ways, m + 1, k]. scenarios:
    complex[m + 1, k], of which each way has the loads from n on, and all of the last."""
    cdef const unsigned char[::1] seen = known.view(np.uint8)
    cdef Py_ssize_t w, i, g, count = levels.shape[0], m = levels.shape[1], n = levels.shape[2]
    cdef Py_ssize_t k = scenarios.shape[1]
    result = np.empty((count, m + 1, k), np.complex128)
    cdef double complex[:, :, ::1] out = result
    for w in range(count if n else 0):
        expected(&levels[w, 0, 0], m, n, &level[0], &now[0], &recent[0], &seen[0], &share[0],
                 steps, &out[w, 0, 0], k)
        for i in range(m):
            for g in range(n, k):
                out[w, i, g] = scenarios[i, g]
        for g in range(k):
            out[w, m, g] = scenarios[m, g]
    return result
