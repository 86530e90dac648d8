# One pass each over all homes, with which a decision begins. Included by _outlook.pyx.

def on_phases(const signed char[:] phases):
    """Whether each is 0, 1, 2, or -1 for open or unknown."""
    cdef Py_ssize_t h
    for h in range(phases.shape[0]):
        if phases[h] < -1 or phases[h] > 2:
            return False
    return True


def drawn(double since_s, const signed char[:] phases, const double[::1] seen_s,
          const double complex[::1] last, loose, still):
    """What is known: (known bool[n], able bool[n], now complex[n], start int8[n], how many are
    known, their mean square A^2, NaN where none is).

    A home is known that was seen since `since_s` and is on a phase; able where it is known, loose
    (bool[n]) and not among `still`, int64[k]. now: `last` of the known, else zero. start: phases,
    with 0 for -1.
    """
    cdef Py_ssize_t h, count = 0, n = phases.shape[0]
    cdef double square = 0.0
    cdef const unsigned char[::1] may = loose.view(np.uint8)
    cdef const long long[::1] stay
    cdef bint on
    told = np.empty((2, n), np.bool_)
    now, start = np.zeros(n, np.complex128), np.empty(n, np.int8)
    cdef unsigned char[:, ::1] mask = told.view(np.uint8)
    cdef double complex[::1] amps = now
    cdef signed char[::1] x = start
    for h in range(n):
        x[h] = phases[h] if phases[h] > 0 else 0
        on = seen_s[h] >= since_s and phases[h] >= 0
        mask[0, h] = on
        mask[1, h] = on and may[h]
        if on:
            amps[h] = last[h]
            square += last[h].real * last[h].real + last[h].imag * last[h].imag
            count += 1
    if still.shape[0]:
        stay = still
        for h in range(stay.shape[0]):
            mask[1, stay[h]] = False
    return told[0], told[1], now, start, count, square / count if count else NAN


def most_carried(const double complex[::1] amps):
    """Sum of magnitudes, A: no phase carries more, wherever the homes are."""
    cdef Py_ssize_t h
    cdef double total = 0.0
    for h in range(amps.shape[0]):
        total += sqrt(amps[h].real * amps[h].real + amps[h].imag * amps[h].imag)
    return total


def priced(const double[::1] prices, able, free, const signed char[::1] start):
    """Prices float64[n, 3] A^2 of each home's phases: nothing for the one it is on, infinity for
    others where it is not both able and free, bool[n]."""
    cdef const unsigned char[::1] may = able.view(np.uint8)
    cdef const unsigned char[::1] rests = free.view(np.uint8)
    cdef Py_ssize_t h, n = prices.shape[0]
    cdef double one
    result = np.empty((n, 3))
    cdef double[:, ::1] out = result
    for h in range(n):
        one = prices[h] if may[h] and rests[h] else INFINITY
        out[h, 0] = out[h, 1] = out[h, 2] = one
        out[h, start[h]] = 0.0
    return result


def counted(double time_s, double since_s, known, able, double[::1] known_s, double[::1] able_s):
    """Notes the time in known_s and able_s for those of the masks bool[n]. Returns how many were
    never able before, and how many were known and able after since_s."""
    cdef const unsigned char[::1] seen = known.view(np.uint8)
    cdef const unsigned char[::1] may = able.view(np.uint8)
    cdef Py_ssize_t h, come = 0, known_n = 0, able_n = 0
    for h in range(known_s.shape[0]):
        if seen[h]:
            known_s[h] = time_s
        if may[h]:
            come += able_s[h] == -INFINITY
            able_s[h] = time_s
        known_n += known_s[h] > since_s
        able_n += able_s[h] > since_s
    return come, known_n, able_n


def levels(const double complex[::1] amps, known):
    """Active parts float64[n] A, NaN where not known, bool[n]."""
    cdef const unsigned char[::1] seen = known.view(np.uint8)
    cdef Py_ssize_t h, n = amps.shape[0]
    result = np.empty(n)
    cdef double[::1] out = result
    for h in range(n):
        out[h] = amps[h].real if seen[h] else NAN
    return result


def lasting_mean(const double complex[::1] total, const double[::1] weight, double prior_h, known,
                 double complex[::1] out):
    """A typical day's mean currents complex[n] A into `out`: of sums `total` and their hours
    `weight`, beside prior_h hours of the mean of all; zero where not known, bool[n]."""
    cdef const unsigned char[::1] seen = known.view(np.uint8)
    cdef Py_ssize_t h, n = total.shape[0]
    cdef double hours = 0.0, re = 0.0, im = 0.0
    for h in range(n):
        hours += weight[h]
        re += total[h].real
        im += total[h].imag
    if hours > 0.0:
        re, im = prior_h * (re / hours), prior_h * (im / hours)
    for h in range(n):
        if hours > 0.0 and seen[h]:
            out[h].real = (total[h].real + re) / (weight[h] + prior_h)
            out[h].imag = (total[h].imag + im) / (weight[h] + prior_h)
        else:
            out[h] = 0.0


# ------------------------------------------------------------------ wear

def rested(const double[:, ::1] times_s, double time_s, double dwell_s, double day_s):
    """Homes whose last switching and whose oldest one kept leave them free to move: bool[n].

    times_s: [cap, n], of the last switchings of each, the newest first."""
    cdef Py_ssize_t h, n = times_s.shape[1], cap = times_s.shape[0]
    out = np.empty(n, np.bool_)
    cdef unsigned char[::1] free = out.view(np.uint8)
    for h in range(n):
        free[h] = time_s - times_s[0, h] >= dwell_s and time_s - times_s[cap - 1, h] >= day_s
    return out


def within(const double[:, ::1] times_s, double time_s, double day_s):
    """How many of each home's switchings are less than day_s old, int64[n], and of all homes."""
    cdef Py_ssize_t h, k, total = 0
    cdef bint new
    out = np.zeros(times_s.shape[1], np.int64)
    cdef long long[::1] count = out
    for k in range(times_s.shape[0]):
        for h in range(times_s.shape[1]):
            new = time_s - times_s[k, h] < day_s
            count[h] += new
            total += new
    return out, total


def shared(const long long[::1] today, double price, double fairness, double cap):
    """The price float64[n] of homes that have switched int64[n] times today: (1 + fairness) times
    `price` where that is the cap."""
    cdef Py_ssize_t h, n = today.shape[0]
    result = np.empty(n)
    cdef double[::1] out = result
    for h in range(n):
        out[h] = price * (1.0 + fairness * (<double>today[h] / cap))
    return result
