# Descent over moves and pairs, relief of overloads, kicks. Included by _core.pyx.

cdef bint best_move(Problem *p) noexcept nogil:
    """Make the best single move; False when none gains."""
    cdef double best = -p.eps
    cdef double delta
    cdef Py_ssize_t h, best_h = -1
    cdef int q, best_q = 0
    for h in range(p.n):
        for q in range(3):
            if q == p.x[h]:
                continue
            delta = move_delta(p, h, q)
            if delta < best:
                if p.max_moves >= 0 and p.moved + moved_after(p, h, q) > p.max_moves:
                    continue
                if not allowed(p, 1, &h, &q):
                    continue
                best, best_h, best_q = delta, h, q
    if best_h < 0:
        return False
    apply_move(p, best_h, best_q)
    return True


cdef double lowest_moves(const Problem *p, double *low) noexcept nogil:
    """What the best single move of each home costs; returns the least of all."""
    cdef Py_ssize_t h
    cdef int q, x
    cdef double here, one, two, least = INFINITY
    cdef const double *f
    cdef const double *c
    for h in range(p.n):
        f = p.field + 3 * h
        c = p.price + 3 * h
        x = p.x[h]
        here = 2.0 * f[x] + c[x]
        one = 2.0 * f[mod3(x + 1)] + c[mod3(x + 1)]
        two = 2.0 * f[mod3(x + 2)] + c[mod3(x + 2)]
        low[h] = (one if one < two else two) - here
        least = low[h] if low[h] < least else least
    return least


cdef inline double spread(const Problem *p, Py_ssize_t h, Py_ssize_t g) noexcept nogil:
    """The largest less the least of C[h, g, :]."""
    cdef const double *c = p.gram + 3 * (h * p.n + g)
    cdef double one = c[0], two = c[1], three = c[2]
    cdef double low = one if one < two else two
    cdef double high = one if one > two else two
    low = three if three < low else low
    high = three if three > high else high
    return high - low


cdef void reaches(const Problem *p, double *spreads, double *reach) noexcept nogil:
    """The spreads of all pairs, [n, n] of which only h < g is written, and the most that a move of
    each home and one of another can add to each other, [n]."""
    cdef Py_ssize_t h, g
    cdef double most, one
    for h in range(p.n):
        reach[h] = 0.0
    for h in range(p.n):
        most = reach[h]
        for g in range(h + 1, p.n):
            # C[g, h, d] = C[h, g, -d]: the same three values.
            one = spreads[h * p.n + g] = spread(p, h, g)
            most = one if one > most else most
            reach[g] = one if one > reach[g] else reach[g]
        reach[h] = most
    for h in range(p.n):
        reach[h] *= 4.0


cdef Py_ssize_t list_moved(const Problem *p, Py_ssize_t *moved) noexcept nogil:
    """The homes that are elsewhere than at the start, ascending; returns how many."""
    cdef Py_ssize_t h, count = 0
    for h in range(p.n):
        if p.x[h] != p.x_now[h]:
            moved[count] = h
            count += 1
    return count


cdef bint improve_pairs(Problem *p, double *low, double *root, Py_ssize_t *moved) noexcept nogil:
    """One pass of pair moves (a swap is one kind): for each home its best partner
    among those after it. Ends early when time is up.

    ``low``, ``root`` and ``moved`` [n] are scratch. No pass is made over partners that cannot
    reach a gain. The interaction of two moves is at least -6 |i_h| |i_g| in the Gram's own norm
    when C is neutral-only (root holds the norms), and always at least -4 times the spread of
    C[h, g, :] (root holds the most that makes with any partner). Where two more may not move, one
    of a pair must have moved before.
    """
    cdef Py_ssize_t h, g, k, best_g, m, count = 0
    cdef int q, v, best_q = 0, best_v = 0
    cdef double best, delta, d_h, bound
    cdef Py_ssize_t homes[2]
    cdef int to[2]
    cdef bint any_gain = False
    cdef bint few
    cdef const double *apart = NULL      # of home h with each, where C is not neutral-only
    cdef double least = lowest_moves(p, low)
    cdef double most = 0.0
    for h in range(p.n):
        most = root[h] if root[h] > most else most
    if p.max_moves >= 0:
        count = list_moved(p, moved)
    for h in range(p.n):
        if low[h] == INFINITY:
            continue
        if late(p):
            break
        best = -p.eps
        best_g = -1
        if low[h] + least - (6.0 * root[h] * most if p.pure else root[h]) >= best:
            continue
        few = p.max_moves >= 0 and p.moved + 2 > p.max_moves and p.x[h] == p.x_now[h]
        if not p.pure:
            apart = p.spreads + h * p.n
        if not few:
            if p.pure:
                bound = pbal_min_reach(p.n - h - 1, low + h + 1, root + h + 1, 6.0 * root[h])
            else:
                bound = pbal_min_reach(p.n - h - 1, low + h + 1, apart + h + 1, 4.0)
            if low[h] + bound >= best:
                continue
        for k in range(count if few else p.n - h - 1):
            g = moved[k] if few else h + 1 + k
            if g <= h:
                continue
            bound = 6.0 * root[h] * root[g] if p.pure else 4.0 * apart[g]
            if low[h] + low[g] - bound >= best:
                continue
            for q in range(3):
                if q == p.x[h]:
                    continue
                d_h = move_delta(p, h, q)
                for v in range(3):
                    if v == p.x[g]:
                        continue
                    if p.max_moves >= 0:
                        m = p.moved + moved_after(p, h, q) + moved_after(p, g, v)
                        if m > p.max_moves:
                            continue
                    delta = d_h + move_delta(p, g, v) + pair_delta(p, h, q, g, v)
                    if delta < best:
                        homes[0], homes[1] = h, g
                        to[0], to[1] = q, v
                        if not allowed(p, 2, homes, to):
                            continue
                        best, best_g, best_q, best_v = delta, g, q, v
        if best_g >= 0:
            apply_move(p, h, best_q)
            apply_move(p, best_g, best_v)
            any_gain = True
            least = lowest_moves(p, low)
            if p.max_moves >= 0:
                count = list_moved(p, moved)
    return any_gain


cdef void descend(Problem *p, double *low, double *root, Py_ssize_t *moved) noexcept nogil:
    while not late(p):
        while best_move(p):
            if late(p):
                return
        if not improve_pairs(p, low, root, moved):
            return


cdef void relieve(Problem *p) noexcept nogil:
    """While a phase is over its limit: the move that takes most excess away."""
    cdef Py_ssize_t h, best_h
    cdef int q, best_q = 0
    cdef double now, best, after
    while p.limit_rows > 0:
        now = excess_after(p, 0, NULL, NULL)
        if now <= 0.0:
            break
        best = now * (1.0 - 1e-9)
        best_h = -1
        for h in range(p.n):
            for q in range(3):
                if q == p.x[h] or p.price[3 * h + q] == INFINITY:
                    continue
                if p.max_moves >= 0 and p.moved + moved_after(p, h, q) > p.max_moves:
                    continue
                after = excess_after(p, 1, &h, &q)
                if after < best:
                    best, best_h, best_q = after, h, q
        if best_h < 0:
            break
        apply_move(p, best_h, best_q)
    p.excess = excess_after(p, 0, NULL, NULL) if p.limit_rows > 0 else 0.0
    p.excess_allowed = p.excess * (1.0 + 1e-12)


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    # splitmix64 (Steele, Lea, Flood 2014): one word of state, good enough for kicks.
    cdef uint64_t z
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline Py_ssize_t random_below(uint64_t *state, Py_ssize_t n) noexcept nogil:
    return <Py_ssize_t>(next_random(state) % <uint64_t>n)


cdef void kick(Problem *p, uint64_t *rng, Py_ssize_t strength, Py_ssize_t *moved) noexcept nogil:
    cdef Py_ssize_t k, h, count
    cdef int q
    if 0 < p.max_moves <= p.moved:
        # Nothing else may move: some that have moved go back first.
        for k in range(1 + random_below(rng, 2)):
            count = list_moved(p, moved)
            h = moved[random_below(rng, count)] if count else 0
            q = p.x_now[h]
            if allowed(p, 1, &h, &q):
                apply_move(p, h, q)
    for k in range(strength):
        h = random_below(rng, p.n)
        q = mod3(p.x[h] + 1 + <int>random_below(rng, 2))
        if p.price[3 * h + q] == INFINITY:
            continue
        if p.max_moves >= 0 and p.moved + moved_after(p, h, q) > p.max_moves:
            continue
        if allowed(p, 1, &h, &q):
            apply_move(p, h, q)


cdef void keep(const Problem *p, Kept *kept) noexcept nogil:
    """Remember the present assignment, with all that follows from it."""
    cdef size_t sums = <size_t>(3 * p.limit_rows) * sizeof(double)
    memcpy(kept.x, p.x, <size_t>p.n)
    memcpy(kept.field, p.field, <size_t>(3 * p.n) * sizeof(double))
    if sums:
        memcpy(kept.phase_re, p.phase_re, sums)
        memcpy(kept.phase_im, p.phase_im, sums)
    kept.moved = p.moved


cdef void go_back(Problem *p, const Kept *kept) noexcept nogil:
    """To what `keep` saw: O(n), where working it out anew is O(n^2)."""
    cdef size_t sums = <size_t>(3 * p.limit_rows) * sizeof(double)
    memcpy(p.x, kept.x, <size_t>p.n)
    memcpy(p.field, kept.field, <size_t>(3 * p.n) * sizeof(double))
    if sums:
        memcpy(p.phase_re, kept.phase_re, sums)
        memcpy(p.phase_im, kept.phase_im, sums)
    p.moved = kept.moved


cdef Py_ssize_t search(Problem *p, Py_ssize_t restarts, uint64_t seed, Kept *best,
                       double *low, double *root, Py_ssize_t *moved) noexcept nogil:
    """Descent, then kicks and descents from the best so far, which it leaves in p; returns the
    kicks made."""
    cdef double least, cost
    cdef uint64_t rng = seed
    cdef Py_ssize_t done = 0
    descend(p, low, root, moved)
    if restarts == 0 or (restarts < 0 and p.end_s == INFINITY) or late(p):
        return 0
    least = total_cost(p)
    keep(p, best)
    while (restarts < 0 or done < restarts) and not late(p):
        kick(p, &rng, 2 + random_below(&rng, 5), moved)
        descend(p, low, root, moved)
        cost = total_cost(p)
        if cost < least - p.eps:
            least = cost
            keep(p, best)
        elif cost > least + p.eps or next_random(&rng) & 1:
            go_back(p, best)
        done += 1
    go_back(p, best)
    return done
