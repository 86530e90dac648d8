# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False
"""What homes draw and will draw: readings taken in, steps followed, forecasts made.

The loops over homes and their steps behind `readings.py`, `lasting.py`, `persistence.py` and the
planner's scenarios. A home has few steps, so that NumPy spends its time on calls, not on numbers.
``reference_outlook.py`` says the same in NumPy, for reading; one set of tests runs on both. Arrays
are changed in place; callers see to shapes and types.
"""

import numpy as np

from libc.math cimport INFINITY, NAN, expm1, fabs, hypot, isfinite, isnan, log1p, sqrt

cdef enum:
    _SLOTS = 8                   # steps a home may have: persistence.SLOTS

include "_minute.pxi"


# ------------------------------------------------------------------ readings

def take(double time_s, const double complex[::1] amps, double most_a, double lag_s,
         double complex[::1] last, double complex[::1] recent, double[::1] seen_s):
    """Last readings and means of the recent past; returns what is known, bool[n]."""
    cdef Py_ssize_t h, n = amps.shape[0]
    cdef double new
    out = np.empty(n, np.bool_)
    cdef unsigned char[::1] known = out.view(np.uint8)
    for h in range(n):
        known[h] = hypot(amps[h].real, amps[h].imag) <= most_a   # neither is NaN
        if known[h]:
            new = -expm1(-(time_s - seen_s[h]) / lag_s)
            recent[h].real += new * (amps[h].real - recent[h].real)
            recent[h].imag += new * (amps[h].imag - recent[h].imag)
            last[h] = amps[h]
            seen_s[h] = time_s
    return out


def lasting(double fade, double spent_h, double typical, const double complex[::1] amps,
            known, double complex[::1] total, double[::1] weight):
    """Sums of currents and of typical currents over the past, faded."""
    cdef const unsigned char[::1] seen = known.view(np.uint8)
    cdef Py_ssize_t h
    for h in range(amps.shape[0]):
        total[h].real *= fade
        total[h].imag *= fade
        weight[h] *= fade
        if seen[h]:
            total[h].real += spent_h * amps[h].real
            total[h].imag += spent_h * amps[h].imag
            weight[h] += spent_h * typical


# ------------------------------------------------------------------ steps

cdef inline Py_ssize_t bin_of(double age_min, const double *edges, const Py_ssize_t *bins,
                              double oldest) noexcept nogil:
    # The edges are whole minutes: a table of minutes instead of a search. Negative counts as new.
    if not age_min > 0.0:
        return 0
    return bins[<Py_ssize_t>(age_min if age_min < oldest else oldest)]


cdef inline Py_ssize_t class_of(double size, const double *sizes, Py_ssize_t count) noexcept nogil:
    # The first upper edge that is not below.
    cdef Py_ssize_t k = 0
    while k < count and sizes[k] < size:
        k += 1
    return k


cdef class Steps:
    """The steps of n homes as `persistence.Persistence` holds them, and the edges of classes.

    size, born_s: float64[n, 8]; level, lowest, seen_s: float64[n]; ends, watched: float32[n,
    classes, ages]. learnt: the cumulative hazard at the age edges, float64[n, classes, ages + 1],
    which of its rows are made, bool[n, classes], the counts that they are made of, float32 as
    `ends` and `watched`, and the hazard of all homes, float64[classes, ages]. sizes, ages: the
    classes' edges; bins: the age bin of every whole minute; widths: of the age bins, minutes.
    """

    cdef double[:, ::1] size
    cdef double[:, ::1] born_s
    cdef double[::1] level
    cdef double[::1] lowest
    cdef double[::1] seen_s
    cdef float[:, :, ::1] ends
    cdef float[:, :, ::1] watched
    cdef double[:, :, ::1] table
    cdef unsigned char[:, ::1] made
    cdef const float[:, :, ::1] then_ends
    cdef const float[:, :, ::1] then_watched
    cdef const double[:, ::1] street
    cdef const double[::1] sizes
    cdef const double[::1] ages
    cdef const Py_ssize_t[::1] bins
    cdef const double[::1] widths
    cdef Py_ssize_t n, classes, bins_n
    cdef double step_a

    def __init__(self, steps, counts, learnt, edges, double step_a):
        self.size, self.born_s, self.level, self.lowest, self.seen_s = steps
        self.ends, self.watched = counts
        self.table, made, self.then_ends, self.then_watched, self.street = learnt
        self.made = made.view(np.uint8)
        self.sizes, self.ages, self.bins, self.widths = edges
        self.n = self.size.shape[0]
        self.classes, self.bins_n = self.ends.shape[1], self.ends.shape[2]
        self.step_a = step_a

    def follow(self, double time_s, const double[::1] amps, double longest_min, double half_min):
        """One reading of every home, NaN where unknown. longest_min: more than that since the last
        one was not watched. half_min: of the time between readings, for the age of what ended."""
        cdef Py_ssize_t h, k
        cdef double minutes, age, delta, level, over
        cdef bint known
        cdef double *size
        with nogil:
            for h in range(self.n):
                size = &self.size[h, 0]
                known = isfinite(amps[h])
                minutes = (time_s - self.seen_s[h]) / 60.0
                minutes = 0.0 if minutes < 0.0 else minutes
                minutes = longest_min if minutes > longest_min else minutes
                if known:
                    for k in range(_SLOTS):
                        if size[k] > 0.0:
                            age = (time_s - self.born_s[h, k]) / 60.0
                            self.watch(h, size[k], age - 0.5 * minutes, minutes)
                    level = 0.0 if isnan(self.level[h]) else self.level[h]
                    delta = amps[h] - self.level[h]
                    if fabs(delta) > (0.04 * level if 0.04 * level > self.step_a else self.step_a):
                        if delta > 0.0:
                            self.rise(h, time_s, delta)
                        else:
                            self.fall(h, time_s, -delta, half_min)
                    self.level[h] = amps[h]
                # A home with solar generation may have a base below zero; others not.
                level = 0.0 if isnan(self.level[h]) else self.level[h]
                over = self.lowest[h] * (1.0 - 1e-4 * minutes)
                self.lowest[h] = over if over < level else level
                # In the order of NumPy's sum over eight.
                over = (((size[0] + size[1]) + (size[2] + size[3]))
                        + ((size[4] + size[5]) + (size[6] + size[7])))
                over = over - level + self.lowest[h]
                if over > self.step_a:
                    self.shrink(h, over)
                if known:
                    self.seen_s[h] = time_s

    cdef void watch(self, Py_ssize_t h, double size, double age_min, double minutes) noexcept nogil:
        cdef Py_ssize_t c = class_of(size, &self.sizes[0], self.classes - 1)
        cdef Py_ssize_t b = bin_of(age_min, &self.ages[0], &self.bins[0],
                                   self.ages[self.bins_n - 1])
        self.watched[h, c, b] += <float>minutes

    cdef void rise(self, Py_ssize_t h, double time_s, double step) noexcept nogil:
        """A step begins: in a free slot, or the smallest is replaced."""
        cdef Py_ssize_t k, slot = 0
        for k in range(1, _SLOTS):
            if self.size[h, k] < self.size[h, slot]:
                slot = k
        self.size[h, slot] = step
        self.born_s[h, slot] = time_s

    cdef void fall(self, Py_ssize_t h, double time_s, double by, double half_min) noexcept nogil:
        """One step that fits has ended, or two, or a part of one; else the nearest."""
        cdef double *size = &self.size[h, 0]
        cdef Py_ssize_t a, b, best = -1, part = -1
        cdef double fits
        for a in range(_SLOTS):
            if size[a] > 0.0 and (best < 0 or fabs(size[a] - by) < fabs(size[best] - by)):
                best = a
        if best < 0:
            return
        fits = 0.12 * by if 0.12 * by > self.step_a else self.step_a
        if fabs(size[best] - by) <= fits:
            self.end(h, best, time_s, half_min)
            return
        fits = 0.08 * by if 0.08 * by > self.step_a else self.step_a
        for a in range(_SLOTS):
            if not size[a] > 0.0:
                continue
            for b in range(a + 1, _SLOTS):
                if size[b] > 0.0 and fabs(size[a] + size[b] - by) <= fits:
                    self.end(h, a, time_s, half_min)
                    self.end(h, b, time_s, half_min)
                    return
        for a in range(_SLOTS):
            if size[a] > by and (part < 0 or size[a] < size[part]):
                part = a
        if part >= 0:
            size[part] -= by
        else:
            self.end(h, best, time_s, half_min)

    cdef void end(self, Py_ssize_t h, Py_ssize_t slot, double time_s,
                  double half_min) noexcept nogil:
        cdef double size = self.size[h, slot]
        cdef double age = (time_s - self.born_s[h, slot]) / 60.0
        cdef Py_ssize_t c = class_of(size, &self.sizes[0], self.classes - 1)
        cdef Py_ssize_t b = self.bins_n - 1
        while b > 0 and self.ages[b] > age - half_min:
            b -= 1
        self.ends[h, c, b] += <float>1.0
        self.size[h, slot] = 0.0

    cdef void shrink(self, Py_ssize_t h, double over) noexcept nogil:
        """Steps cannot be more than the level: the oldest lose the excess."""
        cdef double *size = &self.size[h, 0]
        cdef const double *born_s = &self.born_s[h, 0]
        cdef bint done[_SLOTS]
        cdef Py_ssize_t k, turn, oldest
        cdef double cut
        for k in range(_SLOTS):
            done[k] = not size[k] > 0.0
        for turn in range(_SLOTS):
            oldest = -1
            for k in range(_SLOTS):
                if not done[k] and (oldest < 0 or born_s[k] < born_s[oldest]):
                    oldest = k
            if oldest < 0 or not over > 0.0:
                break
            done[oldest] = True
            cut = size[oldest] if size[oldest] < over else over
            size[oldest] -= cut
            over -= cut
        for k in range(_SLOTS):
            if size[k] < 0.5 * self.step_a:
                size[k] = 0.0

    # -------------------------------------------------------------- forecasts

    def hazards(self, double weight):
        """Makes the rows of the table that steps which are on need. The hazard of all homes counts
        as `weight` minutes for each minute of an age."""
        cdef Py_ssize_t h, slot, b, c
        cdef double w, own, total
        with nogil:
            for h in range(self.n):
                for slot in range(_SLOTS):
                    if not self.size[h, slot] > 0.0:
                        continue
                    c = class_of(self.size[h, slot], &self.sizes[0], self.classes - 1)
                    if self.made[h, c]:
                        continue
                    self.made[h, c] = True
                    total = self.table[h, c, 0] = 0.0
                    for b in range(self.bins_n):
                        w = weight * self.widths[b]
                        own = self.then_ends[h, c, b] + w * self.street[c, b]
                        own /= self.then_watched[h, c, b] + w
                        own = own if own < 0.95 else 0.95
                        total += -log1p(-own) * self.widths[b]
                        self.table[h, c, b + 1] = total

    cdef inline double hazard(self, const double *table, double age_min) noexcept nogil:
        """Cumulative hazard up to an age: table float64[ages + 1] of a home's class."""
        cdef Py_ssize_t b = bin_of(age_min, &self.ages[0], &self.bins[0],
                                   self.ages[self.bins_n - 1])
        cdef double within = (age_min - self.ages[b]) / self.widths[b]
        within = 9.0 if within > 9.0 else within
        return table[b] + (table[b + 1] - table[b]) * within

    cdef void ahead(self, Py_ssize_t h, Py_ssize_t slot, double time_s, Py_ssize_t m,
                    const double *ahead_min, double *out) noexcept nogil:
        """Of a step that is on: cumulative hazard from when it was last seen to ahead_min [m] from
        time_s, into out [m]."""
        cdef const double *row = &self.table[h, class_of(self.size[h, slot], &self.sizes[0],
                                                         self.classes - 1), 0]
        cdef double age = (time_s - self.born_s[h, slot]) / 60.0
        cdef double seen = (self.seen_s[h] - self.born_s[h, slot]) / 60.0
        cdef double before
        cdef Py_ssize_t i
        age = age if age > 0.0 else 0.0
        seen = seen if seen > 0.0 else 0.0
        before = self.hazard(row, seen if seen < age else age)
        for i in range(m):
            out[i] = self.hazard(row, age + ahead_min[i]) - before

    def gone(self, double time_s, const double[::1] ahead_min):
        """Every step that is on: home [k], size [k], cumulative hazard from when it was last seen
        to ahead_min from time_s [k, len(ahead_min)]."""
        cdef Py_ssize_t h, slot, k = 0, m = ahead_min.shape[0]
        for h in range(self.n):
            for slot in range(_SLOTS):
                k += self.size[h, slot] > 0.0
        homes, sizes, hazards = np.empty(k, np.int64), np.empty(k), np.empty((k, m))
        cdef long long[::1] of = homes
        cdef double[::1] size = sizes
        cdef double[:, ::1] out = hazards
        k = 0
        for h in range(self.n):
            for slot in range(_SLOTS):
                if not self.size[h, slot] > 0.0:
                    continue
                of[k] = h
                size[k] = self.size[h, slot]
                if m:
                    self.ahead(h, slot, time_s, m, &ahead_min[0], &out[k, 0])
                k += 1
        return homes, sizes, hazards

    def forecast(self, double time_s, const double[::1] ahead_min):
        """Expected current ahead_min from time_s: float64[len(ahead_min), n] A."""
        cdef Py_ssize_t h, i, slot, m = ahead_min.shape[0]
        cdef double level
        result, scratch = np.empty((m, self.n)), np.empty(m)
        cdef double[:, ::1] out = result
        cdef double[::1] gone = scratch
        if not m:
            return result
        with nogil:
            for h in range(self.n):
                level = 0.0 if isnan(self.level[h]) else self.level[h]
                for i in range(m):
                    out[i, h] = level
                for slot in range(_SLOTS):
                    if not self.size[h, slot] > 0.0:
                        continue
                    self.ahead(h, slot, time_s, m, &ahead_min[0], &gone[0])
                    for i in range(m):
                        out[i, h] += self.size[h, slot] * expm1(-gone[i])
        return result


def drawn_levels(const double[::1] level, const long long[::1] of, const double[::1] size, stays,
                 const double[:, :] then):
    """Levels float64[ways, m, n] A once some steps have ended: of home [k] and size [k] each, still
    on or not, bool[ways, k], and if it is, so much of it, [m, k]."""
    cdef const unsigned char[:, ::1] on = stays.view(np.uint8)
    cdef Py_ssize_t w, i, h, k, ways = on.shape[0], m = then.shape[0], n = level.shape[0]
    result = np.empty((ways, m, n))
    cdef double[:, :, ::1] out = result
    with nogil:
        for w in range(ways):
            for i in range(m):
                for h in range(n):
                    out[w, i, h] = 0.0 if isnan(level[h]) else level[h]
                for k in range(of.shape[0]):
                    out[w, i, of[k]] += size[k] * ((then[i, k] if on[w, k] else 0.0) - 1.0)
    return result


include "_currents.pxi"
