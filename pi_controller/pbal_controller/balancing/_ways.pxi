# Best and random paths through time, of one home or two, from what each step costs. Included by
# _paths.pyx. All minimise (or sample) sum_t cost[t, x_t] + sum_t price * [x_t != x_(t-1)] with
# x_(-1) given.

cdef double _LOST = 460.5170185988091    # -ln 1e-200


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    cdef uint64_t z
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline double uniform(uint64_t *state) noexcept nogil:
    return <double>(next_random(state) >> 11) * (1.0 / 9007199254740992.0)


cdef double viterbi(Py_ssize_t steps, const double *cost, double price, int start,
                    signed char *back, signed char *path) noexcept nogil:
    cdef double f[3]
    cdef double low, stay
    cdef Py_ssize_t t
    cdef int q, arg
    for q in range(3):
        f[q] = 0.0 if q == start else price
    for t in range(steps):
        if t > 0:
            arg = 0
            if f[1] < f[arg]:
                arg = 1
            if f[2] < f[arg]:
                arg = 2
            low = f[arg] + price
            for q in range(3):
                if low < f[q]:
                    f[q] = low
                    back[3 * t + q] = <signed char>arg
                else:
                    back[3 * t + q] = <signed char>q
        for q in range(3):
            f[q] += cost[3 * t + q]
    arg = 0
    if f[1] < f[arg]:
        arg = 1
    if f[2] < f[arg]:
        arg = 2
    low = f[arg]
    for t in range(steps - 1, -1, -1):
        path[t] = <signed char>arg
        if t > 0:
            arg = back[3 * t + arg]
    return low


cdef double viterbi2(Py_ssize_t steps, const double *c1, const double *c2, const double *inter,
                     double price, int start1, int start2, signed char *back,
                     signed char *path1, signed char *path2) noexcept nogil:
    """inter [steps, 3]: what the two cost each other when the first sits d after the second."""
    cdef double f[9]
    cdef double g[9]
    cdef signed char via[9]
    cdef double low
    cdef Py_ssize_t t
    cdef int q, v, arg, s, d
    for q in range(3):
        for v in range(3):
            f[3 * q + v] = (0.0 if q == start1 else price) + (0.0 if v == start2 else price)
    for t in range(steps):
        if t > 0:
            for v in range(3):          # first home moves
                arg = 0
                if f[3 + v] < f[3 * arg + v]:
                    arg = 1
                if f[6 + v] < f[3 * arg + v]:
                    arg = 2
                low = f[3 * arg + v] + price
                for q in range(3):
                    s = 3 * q + v
                    if low < f[s]:
                        g[s] = low
                        via[s] = <signed char>arg
                    else:
                        g[s] = f[s]
                        via[s] = <signed char>q
            for q in range(3):          # then the second
                arg = 0
                if g[3 * q + 1] < g[3 * q + arg]:
                    arg = 1
                if g[3 * q + 2] < g[3 * q + arg]:
                    arg = 2
                low = g[3 * q + arg] + price
                for v in range(3):
                    s = 3 * q + v
                    if low < g[s]:
                        f[s] = low
                        back[9 * t + s] = <signed char>(3 * via[3 * q + arg] + arg)
                    else:
                        f[s] = g[s]
                        back[9 * t + s] = <signed char>(3 * via[s] + v)
        for q in range(3):
            for v in range(3):
                d = q - v
                if d < 0:
                    d += 3
                f[3 * q + v] += c1[3 * t + q] + c2[3 * t + v] + inter[3 * t + d]
    s = 0
    for q in range(1, 9):
        if f[q] < f[s]:
            s = q
    low = f[s]
    for t in range(steps - 1, -1, -1):
        path1[t] = <signed char>(s // 3)
        path2[t] = <signed char>(s % 3)
        if t > 0:
            s = back[9 * t + s]
    return low


cdef enum:
    _CLEAR = 39                  # e^-39 of a chance is less than a random number resolves
    _COLD = 500                  # from here on a switching's chance is nothing but its price


cdef inline int least(const double *f) noexcept nogil:
    cdef int arg = 1 if f[1] < f[0] else 0
    return 2 if f[2] < f[arg] else arg


cdef inline double softened(double apart, double other, double step) noexcept nogil:
    """Filtered cost of a state, over the least, after a step in which it may have been switched
    into. apart: its own before; other: the chance of the third state, as a share of the best."""
    if apart > _LOST and step > _LOST:      # only the best way here counts
        return apart if apart < step else step
    if step - apart > _CLEAR:
        return apart
    if apart - step > _CLEAR:
        return step - log(1.0 + other)
    return step - log(1.0 + other + exp(step - apart))


cdef inline double chance(double apart) noexcept nogil:
    return exp(-apart) if apart < _CLEAR else 0.0


cdef void draw(Py_ssize_t steps, const double *cost, double price, int start, double cold,
               uint64_t *rng, double *alpha, signed char *path) noexcept nogil:
    """One path from exp(-cold * cost): filter forwards, draw backwards.

    alpha [steps, 3] holds minus the logarithm of the filtered weights, so that nothing
    underflows however cold it gets. Exponentials are taken only of what they change: between
    states far apart in cost they do not, and when it is cold almost all are.
    """
    cdef double step = cold * price
    cdef double w = exp(-step)
    cdef double low, total, u
    cdef double f[3]
    cdef double e[3]
    cdef Py_ssize_t t
    cdef int q, arg, one, two, last
    for q in range(3):
        f[q] = 0.0 if q == start else step
    for t in range(steps):
        if t > 0:
            arg = least(f)
            low = f[arg]
            if step > _COLD:
                for q in range(3):
                    f[q] = f[q] - low if f[q] - low < step else step
            else:
                one = 1 if arg == 0 else 0
                two = 1 if arg == 2 else 2
                e[one], e[two] = chance(f[one] - low), chance(f[two] - low)
                f[one], f[two] = (softened(f[one] - low, e[two], step),
                                  softened(f[two] - low, e[one], step))
                f[arg] = -log(1.0 + w * (e[one] + e[two])) if step < _CLEAR else 0.0
        for q in range(3):
            f[q] += cold * cost[3 * t + q]
            alpha[3 * t + q] = f[q]
    last = -1
    for t in range(steps - 1, -1, -1):
        for q in range(3):
            f[q] = alpha[3 * t + q] + (step if last >= 0 and q != last else 0.0)
        arg = least(f)
        low = f[arg]
        for q in range(3):
            e[q] = chance(f[q] - low)
        total = e[0] + e[1] + e[2]
        u = uniform(rng) * total
        if total == 1.0:
            last = arg
        else:
            last = 0 if u < e[0] else (1 if u < e[0] + e[1] else 2)
        path[t] = <signed char>last
