# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False
"""What loads draw at given voltages, and one minute of the power flow: loops of loadmodel.py and
powerflow.py. A minute has a hundred numbers, so that NumPy spends its time on calls.
"""

import numpy as np

from libc.math cimport isnan, pow, sqrt

cdef extern from "_loads.h" nogil:
    Py_ssize_t pbal_constant_power(Py_ssize_t n, const double *power, const double *v,
                                   const double *low, const double *high, const double *above,
                                   double *out) noexcept
    Py_ssize_t pbal_apart(Py_ssize_t n, const double *a, const double *b, double limit) noexcept
    void pbal_drop(Py_ssize_t n, const double *current, const double *z_re, const double *z_im,
                   double *v_re, double *v_im) noexcept

cdef enum:
    _SHARES = 7     # of P or Q of one load: loadmodel.Edges
    _BAND = 4       # base, low, high, floor


cdef class Loads:
    """The loads of a feeder, each by one load model or the sum of several.

    band: float64[models, n, 4]: rated voltage, V, the band's limits and the floor below it, per
    unit. p, q: float64[models, n, 7]: of the constant-impedance, -current and -power shares, the
    last one's exponent, the slope of the current below the band, the admittance above it and below
    it (NaN: by the slope). shares: float64[models, n, 3]: of P, of Q, and vars besides.
    plain: one model, constant power within the band, P and Q alike above.
    """

    cdef const double[:, :, ::1] band
    cdef const double[:, :, ::1] p
    cdef const double[:, :, ::1] q
    cdef const double[:, :, ::1] shares
    cdef double[::1] low
    cdef double[::1] high
    cdef double[::1] above
    cdef readonly bint plain
    cdef readonly Py_ssize_t n

    def __init__(self, band, p, q, shares, bint plain):
        self.band, self.p, self.q, self.shares = band, p, q, shares
        self.plain = plain
        self.n = self.band.shape[1]
        base = band[0, :, 0]
        self.low = (base * np.maximum(band[0, :, 1], band[0, :, 3])) ** 2
        self.high = (base * band[0, :, 2]) ** 2
        self.above = p[0, :, 5] / base**2

    def current(self, const double complex[:, ::1] power, const double complex[:, ::1] v):
        """Currents complex[rows, n] A at voltages v; power at 1 per unit, VA."""
        cdef Py_ssize_t r, rows = v.shape[0]
        result = np.empty((rows, self.n), np.complex128)
        cdef double complex[:, ::1] out = result
        if self.n:
            with nogil:
                for r in range(rows):
                    self.drawn(<const double *>&power[r, 0], <const double *>&v[r, 0],
                               <double *>&out[r, 0])
        return result

    cdef void drawn(self, const double *power, const double *v, double *out) noexcept nogil:
        cdef Py_ssize_t k, m
        cdef double square, size, p, q, x, y
        if self.plain and not pbal_constant_power(self.n, power, v, &self.low[0], &self.high[0],
                                                  &self.above[0], out):
            return
        for k in range(self.n):
            x, y = v[2 * k], v[2 * k + 1]
            square = x * x + y * y
            size = sqrt(square)
            p = q = 0.0
            for m in range(self.band.shape[0]):
                p += power[2 * k] * self.shares[m, k, 0] * self.factor(m, k, size, &self.p[m, k, 0])
                q += ((power[2 * k + 1] * self.shares[m, k, 1] + self.shares[m, k, 2])
                      * self.factor(m, k, size, &self.q[m, k, 0]))
            # conj((p + jq) / v)
            out[2 * k] = (p * x + q * y) / square
            out[2 * k + 1] = (p * y - q * x) / square

    cdef double factor(self, Py_ssize_t m, Py_ssize_t k, double size, const double *e) noexcept nogil:
        """What is drawn at a voltage, V, as a share of the power at 1 per unit."""
        cdef const double *band = &self.band[m, k, 0]
        cdef double u = size / band[0]
        if u > band[2]:
            return e[5] * u * u
        if u < band[3]:
            return u * u
        if u < band[1]:
            return u * (band[3] + e[4] * (u - band[3])) if isnan(e[6]) else e[6] * u * u
        return e[0] * u * u + e[1] * u + (e[2] if e[3] == 0.0 else e[2] * pow(u, e[3]))


def settled(const double complex[:, ::1] fresh, const double complex[:, ::1] v, double square):
    """Whether all of a row have changed by less than the root of `square`, bool[rows]; a row with
    something that is no number has not."""
    cdef Py_ssize_t r, n = v.shape[1]
    out = np.ones(v.shape[0], np.bool_)
    cdef unsigned char[::1] done = out.view(np.uint8)
    for r in range(v.shape[0] if n else 0):
        done[r] = not pbal_apart(n, <const double *>&fresh[r, 0], <const double *>&v[r, 0], square)
    return out


cdef class Minute:
    """One minute after the other, on ports that stay: one round of the fixed point each.

    v0: complex[n], voltages at no load; z: complex[n, n] ohm, transposed, None for none; turn:
    complex[homes], what refers a home's current to its own phase voltage.
    """

    cdef Loads loads
    cdef const double complex[::1] v0
    cdef const double complex[::1] turn
    cdef double[:, ::1] z_re
    cdef double[:, ::1] z_im
    cdef double complex[::1] v
    cdef double complex[::1] now
    cdef double[:, ::1] fresh
    cdef bint stiff
    cdef readonly object drawn

    def __init__(self, Loads loads, v0, z, turn):
        self.loads, self.v0, self.turn = loads, v0, turn
        self.v = v0.copy()
        self.drawn = np.zeros(len(v0), np.complex128)
        self.now = self.drawn
        self.fresh = np.empty((2, len(v0)))
        self.stiff = z is None
        if not self.stiff:
            self.z_re, self.z_im = z.real.copy(), z.imag.copy()

    def currents(self, const double complex[::1] power):
        """What the homes draw, complex[homes] A; `drawn` is then that of all loads, as it flows."""
        cdef Py_ssize_t k, n = self.v0.shape[0], homes = self.turn.shape[0]
        result = np.empty(homes, np.complex128)
        cdef double complex[::1] out = result
        if not n:
            return result
        self.loads.drawn(<const double *>&power[0], <const double *>&self.v[0],
                         <double *>&self.now[0])
        if not self.stiff:
            for k in range(n):
                self.fresh[0, k], self.fresh[1, k] = self.v0[k].real, self.v0[k].imag
            pbal_drop(n, <const double *>&self.now[0], &self.z_re[0, 0], &self.z_im[0, 0],
                      &self.fresh[0, 0], &self.fresh[1, 0])
            for k in range(n):
                self.v[k].real, self.v[k].imag = self.fresh[0, k], self.fresh[1, k]
            self.loads.drawn(<const double *>&power[0], <const double *>&self.v[0],
                             <double *>&self.now[0])
        for k in range(homes):
            out[k] = self.now[k] * self.turn[k]
        return result
