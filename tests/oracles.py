"""Losses as slow loops straight from each paper, for one direction: rows of `s` are queries.

Plain Python floats. `positives[i]` and `negatives[i]` are lists of column indices; `own` and `other` are the
similarities within the queries' and within the gallery's modality, as lists of lists. Each oracle returns a list
with one value per query. The several-positives rule of xmr (each positive as if alone, then the mean) is applied
by `per_positive`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

exp, log = math.exp, math.log
ORACLES: dict[str, Callable[..., list[float]]] = {}


def oracle(loss: Callable[..., list[float]]) -> Callable[..., list[float]]:
    """Decorator: the loop that the loss of the same name has to equal."""
    ORACLES[loss.__name__] = loss
    return loss


def per_positive(one: Callable[..., float], s, positives, negatives) -> list[float]:
    """`one(positive score, negative scores)` averaged over each query's positives; 0 where a side is missing."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        if not own or not others:
            values.append(0.0)
            continue
        values.append(sum(one(row[p], [row[n] for n in others]) for p in own) / len(own))
    return values


def hinge(x):
    return max(0.0, x)


@oracle
def sum_of_hinges(s, positives, negatives, margin=0.2, **_):
    """VSE0: the sum over negatives of [margin + s(i, n) - s(i, p)]_+."""
    return per_positive(lambda p, ns: sum(hinge(margin + n - p) for n in ns), s, positives, negatives)


@oracle
def max_of_hinges(s, positives, negatives, margin=0.2, **_):
    """VSE++, equation 6: max over negatives of [margin + s(i, n) - s(i, p)]_+."""
    return per_positive(lambda p, ns: max(hinge(margin + n - p) for n in ns), s, positives, negatives)


@oracle
def semi_hard(s, positives, negatives, margin=0.2, **_):
    """FaceNet: the nearest negative farther than the positive; where there is none, the farthest."""

    def one(p, ns):
        farther = [n for n in ns if n < p]
        return hinge(margin + (max(farther) if farther else min(ns)) - p)

    return per_positive(one, s, positives, negatives)


@oracle
def soft_margin(s, positives, negatives, scale=10.0, **_):
    return per_positive(lambda p, ns: log(1 + exp(scale * (max(ns) - p))) / scale, s, positives, negatives)


@oracle
def contrastive(s, positives, negatives, margin=1.0, **_):
    """Hadsell's form over all pairs, with d the distance of unit vectors."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        total = sum(2 - 2 * row[p] for p in own)
        total += sum(hinge(margin - math.sqrt(2 - 2 * row[n])) ** 2 for n in others)
        values.append(total / 2)
    return values


@oracle
def double_triplet(s, positives, negatives, margin=1.0, **_):
    """The mean over all triples of an anchor, in squared distances, halved."""

    def one(p, ns):
        return sum(hinge(margin + (2 - 2 * p) - (2 - 2 * n)) for n in ns) / len(ns) / 2

    return per_positive(one, s, positives, negatives)


@oracle
def info_nce(s, positives, negatives, temperature=0.07, **_):
    """CLIP: the cross-entropy of picking the positive."""

    def one(p, ns):
        top = exp(p / temperature)
        return -log(top / (top + sum(exp(n / temperature) for n in ns)))

    return per_positive(one, s, positives, negatives)


@oracle
def siglip(s, positives, negatives, scale=10.0, bias=-10.0, **_):
    """SigLIP, equation 2: the sum over pairs of -log 1 / (1 + exp(z (-scale s - bias)))."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        total = 0.0
        for j, score in enumerate(row):
            z = 1 if j in own else -1 if j in others else None
            if z is not None:
                total += -log(1 / (1 + exp(z * (-scale * score - bias))))
        values.append(total)
    return values


@oracle
def similar_dissimilar(s, positives, negatives, scale=10.0, bias=-3.0, **_):
    """Binary cross-entropy of similar and of dissimilar pairs, each kind's mean, then the mean of both."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        same = [-log(1 / (1 + exp(-(scale * row[j] + bias)))) for j in own]
        other = [-log(1 / (1 + exp(scale * row[j] + bias))) for j in others]
        values.append(sum(sum(part) / len(part) for part in (same, other) if part) / 2)
    return values


@oracle
def unified(s, positives, negatives, scale=20.0, margin=0.2, **_):
    def one(p, ns):
        return log(1 + sum(exp(scale * (n - p + margin)) for n in ns)) / scale

    return per_positive(one, s, positives, negatives)


@oracle
def multi_similarity(s, positives, negatives, alpha=2.0, beta=40.0, base=0.5, epsilon=0.1, **_):
    """The authors' loop: mine both ways, skip an anchor that keeps too little."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        if not own or not others:
            values.append(0.0)
            continue
        kept_n = [row[n] for n in others if row[n] + epsilon > min(row[p] for p in own)]
        kept_p = [row[p] for p in own if row[p] - epsilon < max(row[n] for n in others)]
        if not kept_n or not kept_p:
            values.append(0.0)
            continue
        pull = log(1 + sum(exp(-alpha * (p - base)) for p in kept_p)) / alpha
        push = log(1 + sum(exp(beta * (n - base)) for n in kept_n)) / beta
        values.append(pull + push)
    return values


@oracle
def circle(s, positives, negatives, margin=0.25, scale=256.0, **_):
    """Circle loss, equation 6, in the log domain because its exponentials overflow."""
    values = []
    for row, own, others in zip(s, positives, negatives, strict=True):
        if not own or not others:
            values.append(0.0)
            continue
        terms = [0.0]
        for n in others:
            for p in own:
                an, ap = hinge(row[n] + margin), hinge(1 + margin - row[p])
                terms.append(scale * an * (row[n] - margin) - scale * ap * (row[p] - (1 - margin)))
        top = max(terms)
        values.append(top + log(sum(exp(t - top) for t in terms)))
    return values


@oracle
def decoupled(s, positives, negatives, temperature=0.1, **_):
    return per_positive(
        lambda p, ns: -p / temperature + log(sum(exp(n / temperature) for n in ns)), s, positives, negatives
    )


@oracle
def hardness_weighted(s, positives, negatives, temperature=0.07, alpha=9.0, **_):
    """LLaVE, equation 5: alpha times a negative's score is added to its logit."""

    def one(p, ns):
        top = exp(p / temperature)
        return -log(top / (top + sum(exp(n / temperature + alpha * n) for n in ns)))

    return per_positive(one, s, positives, negatives)


@oracle
def hard_reweighted(s, positives, negatives, temperature=0.5, beta=1.0, prior=0.1, **_):
    """The authors' code: importance-weighted negatives, then debiased, floored."""

    def one(p, ns):
        pos = exp(p / temperature)
        neg = [exp(n / temperature) for n in ns]
        importance = [exp(beta * n / temperature) for n in ns]
        mean = sum(importance) / len(importance)
        reweighted = sum(i * n for i, n in zip(importance, neg, strict=True)) / mean
        ng = (-prior * len(ns) * pos + reweighted) / (1 - prior)
        ng = max(ng, len(ns) * exp(-1 / temperature))
        return -log(pos / (pos + ng))

    return per_positive(one, s, positives, negatives)


@oracle
def debiased(s, positives, negatives, temperature=0.5, prior=0.1, **_):
    return hard_reweighted(s, positives, negatives, temperature, 0.0, prior)


@oracle
def polynomial(s, positives, negatives, margin=0.2, a0=0.5, a1=-0.7, a2=0.2, b0=0.03, b1=-0.4, b2=0.9, **_):
    """The authors' `polyloss.py`: mine, skip the anchor without informative negatives, two separate clamps."""

    def one(p, ns):
        if p >= 1 - 1e-5:
            return 0.0
        informative = [n for n in ns if n + margin > p]
        if not informative:
            return 0.0
        h = max(informative)
        return hinge(a2 * p * p + a1 * p + a0) + hinge(b2 * h * h + b1 * h + b0)

    return per_positive(one, s, positives, negatives)


@oracle
def polynomial_max(
    s, positives, negatives, margin=0.2, a0=0.5, a1=-0.7, a2=0.2, b0=0.03, b1=-0.3, b2=1.2, **_
):
    def one(p, ns):
        informative = [n for n in ns if n + margin > p]
        if not informative:
            return 0.0
        h = max(informative)
        return hinge(a2 * p * p + a1 * p + a0 + b2 * h * h + b1 * h + b0)

    return per_positive(one, s, positives, negatives)


@oracle
def polynomial_avg(
    s, positives, negatives, margin=0.2, a0=0.5, a1=-0.7, a2=0.2, b0=0.03, b1=-0.3, b2=1.2, **_
):
    def one(p, ns):
        informative = [n for n in ns if n + margin > p]
        if not informative:
            return 0.0
        mean = sum(b2 * n * n + b1 * n + b0 for n in informative) / len(informative)
        return hinge(a2 * p * p + a1 * p + a0 + mean)

    return per_positive(one, s, positives, negatives)


@oracle
def polynomial_relative(s, positives, negatives, margin=0.2, c1=1.0, c2=1.0, **_):
    def one(p, ns):
        r = max(ns) - p
        c0 = c1 * margin - c2 * margin**2
        return hinge(c0 + c1 * r + c2 * r * r) if r > -margin else 0.0

    return per_positive(one, s, positives, negatives)


@oracle
def polynomial_calibrated(s, positives, negatives, margin=0.2, a1=0.7, a2=0.2, balance=1.0, **_):
    """The published shape on scores mapped to [0, 1] by the extremes of all pairs that count."""
    known = [row[j] for row, p, n in zip(s, positives, negatives, strict=True) for j in [*p, *n]]
    low, high = min(known), max(known)
    width = max(high - low, 1e-3)
    hardest = [(max(row[j] for j in n) - low) / width for row, n in zip(s, negatives, strict=True) if n]
    hard = sum(hardest) / len(hardest)
    k = balance * (a1 - 2 * a2 * hard) / max(hard, 1e-2)

    def one(p, ns):
        u, h = (p - low) / width, (max(ns) - low) / width
        if h + margin <= u:
            return 0.0
        return width * (a2 * (1 - u) ** 2 + (a1 - 2 * a2) * (1 - u) + k * h * h / 2)

    return per_positive(one, s, positives, negatives)


@oracle
def weighting(s, positives, negatives, **hyper):
    """The integrals by very many trapezoids."""
    values = {
        "positive": [1.0, 0.9, 0.7, 0.5, 0.3],
        "negative": [0.0, 0.0, 0.0, 0.5, 1.4],
    }
    for side, curve in values.items():
        for i, knot in enumerate(("minus_1", "minus_half", "0", "half", "1")):
            curve[i] = hyper.get(f"{side}_at_{knot}", curve[i])

    def height(curve, x):
        place = min(max((x + 1) / 0.5, 0.0), 4.0)
        i = min(int(place), 3)
        return curve[i] + (curve[i + 1] - curve[i]) * (place - i)

    def area(curve, a, b, steps=4000):
        width = (b - a) / steps
        return sum(height(curve, a + (k + 0.5) * width) for k in range(steps)) * width

    def one(p, ns):
        return area(values["positive"], p, 1.0) + area(values["negative"], -1.0, max(ns))

    return per_positive(one, s, positives, negatives)


@oracle
def complementary(s, positives, negatives, temperature=0.05, **_):
    def one(p, ns):
        """-log(1 - q) of every negative, 1 - q being the probability of all but it."""
        masses = [exp(p / temperature), *(exp(n / temperature) for n in ns)]
        return sum(log(sum(masses)) - log(sum(masses[:k] + masses[k + 1 :])) for k in range(1, len(masses)))

    return per_positive(one, s, positives, negatives)


def _evidence(row, column, s, positives, within, of_gallery):
    """Largest similarity of the candidate to what is annotated to the query (or of the query to what is annotated
    to the candidate)."""
    if of_gallery:
        near = [within[p][column] for p in positives[row]]
    else:
        near = [within[row][q] for q in range(len(s)) if column in positives[q]]
    return max(near, default=-math.inf)


@oracle
def ladder(
    s,
    positives,
    negatives,
    margin=0.2,
    threshold=0.63,
    margin_second=0.01,
    weight=0.25,
    text=None,
    upright=True,
    **_,
):
    first = max_of_hinges(s, positives, negatives, margin)
    values = []
    for i, row in enumerate(s):
        total = first[i]
        upper, lower = [], []
        for j in [*positives[i], *negatives[i]]:
            likely = _evidence(i, j, s, positives, text, upright) >= threshold
            if likely or j in positives[i]:
                upper.append(row[j])
            else:
                lower.append(row[j])
        if upper and lower and positives[i]:
            total += weight * hinge(margin_second + max(lower) - min(upper))
        values.append(total)
    return values


@oracle
def graded_relevance(
    s, positives, negatives, temperature=0.07, threshold=0.5, weight=0.5, text=None, upright=True, **_
):
    first = info_nce(s, positives, negatives, temperature)
    values = []
    for i, row in enumerate(s):
        grade = {j: _evidence(i, j, s, positives, text, upright) for j in negatives[i]}
        total, grades = 0.0, 0.0
        for j in negatives[i]:
            lower = [k for k in negatives[i] if grade[k] < grade[j]]
            if grade[j] >= threshold and lower:
                own = exp(row[j] / temperature)
                total += grade[j] * -log(own / (own + sum(exp(row[k] / temperature) for k in lower)))
                grades += grade[j]
        values.append(first[i] + (weight * total / grades if grades and positives[i] else 0.0))
    return values


@oracle
def soft_labels(
    s,
    positives,
    negatives,
    temperature=0.05,
    student_temperature=0.45,
    teacher_temperature=1.0,
    weight=0.1,
    visual=None,
    text=None,
    upright=True,
    **_,
):
    first = info_nce(s, positives, negatives, temperature)
    values = []
    for i, row in enumerate(s):
        teacher = {}
        for j in [*positives[i], *negatives[i]]:
            near = _evidence(i, j, s, positives, visual if upright else text, False)
            if near > -math.inf:
                teacher[j] = exp(near / teacher_temperature)
        student = {j: exp(row[j] / student_temperature) for j in teacher}
        t_sum, s_sum = sum(teacher.values()), sum(student.values())
        kl = sum(t / t_sum * log((t / t_sum) / (student[j] / s_sum)) for j, t in teacher.items())
        values.append(first[i] + (weight * kl if positives[i] else 0.0))
    return values


@oracle
def peer_distillation(
    s, positives, negatives, temperature=0.07, peer_temperature=0.07, weight=0.5, peers=None, **_
):
    first = info_nce(s, positives, negatives, temperature)
    values = []
    for i, row in enumerate(s):
        known = [*positives[i], *negatives[i]]
        mean = {j: sum(peer[i][j] for peer in peers) / len(peers) for j in known}
        theirs = {j: exp(mean[j] / peer_temperature) for j in known}
        ours = {j: exp(row[j] / temperature) for j in known}
        t_sum, s_sum = sum(theirs.values()), sum(ours.values())
        kl = sum(t / t_sum * log((t / t_sum) / (ours[j] / s_sum)) for j, t in theirs.items())
        values.append((1 - weight) * first[i] + (weight * kl if positives[i] else 0.0))
    return values


@oracle
def gravitation(
    s,
    positives,
    negatives,
    margin=0.2,
    mass="density",
    within=0.5,
    margin_within=0.2,
    visual=None,
    text=None,
    upright=True,
    **_,
):
    """Masses, forces m·m/r², the strongest negative, its hinge weighted by the masses, and the term within."""
    queries, gallery = len(s), len(s[0])
    own, other = (visual, text) if upright else (text, visual)

    def density(sim):
        masses = []
        for i, row in enumerate(sim):
            near = sorted((x for j, x in enumerate(row) if j != i), reverse=True)[:5]
            masses.append(max((1 + sum(near) / len(near)) / 2, 0.01))
        return masses

    m_own = [1.0] * queries if mass == "equal" else density(own)
    m_other = [1.0] * gallery if mass == "equal" else density(other)
    chosen, factor = [], []
    for i, row in enumerate(s):
        forces = {j: m_own[i] * m_other[j] / max(2 - 2 * row[j], 1e-6) for j in negatives[i]}
        j = max(forces, key=forces.get) if forces else 0
        chosen.append(row[j])
        factor.append(m_own[i] * m_other[j])
    mean = sum(factor) / len(factor)
    values = []
    for i, row in enumerate(s):
        if not positives[i] or not negatives[i]:
            values.append(0.0)
            continue
        strangers = [q for q in range(queries) if q != i and not set(positives[q]) & set(positives[i])]
        total = 0.0
        for p in positives[i]:
            total += factor[i] / mean * hinge(margin + chosen[i] - row[p])
            if strangers:
                total += within * hinge(margin_within + max(own[i][q] for q in strangers) - row[p])
        values.append(total / len(positives[i]))
    return values


# Metrics of one query: scores and relevance are lists, relevance NaN where nobody judged. Ties count against the query.


def _worst_order(scores, relevance):
    """Relevance of the items from the best score to the worst; of equal scores, the most harmful first."""
    harm = [math.inf if math.isnan(r) else -r for r in relevance]  # unjudged, then 0, then the least relevant
    rank = [
        (-math.inf if r > 0 else math.inf) if math.isnan(s) else s
        for s, r in zip(scores, relevance, strict=True)
    ]
    order = sorted(range(len(scores)), key=lambda j: (-rank[j], -harm[j]))
    return [relevance[j] for j in order]


def ndcg_of_grades(scores, relevance):
    """Gains over log2(1 + rank) among the judged items, over those of the best order; NaN where nothing matches."""
    grades = [r for r in _worst_order(scores, relevance) if not math.isnan(r)]

    def gain(order):
        return sum(r / math.log2(1 + place) for place, r in enumerate(order, start=1))

    best = gain(sorted(grades, reverse=True))
    return gain(grades) / best if best else math.nan


def inferred_average_precision(scores, relevance, epsilon=1e-5):
    """infAP with all items in the pool: the expected precision at each judged match, unjudged ones in their places."""
    order = _worst_order(scores, relevance)
    values = []
    for k, grade in enumerate(order, start=1):
        if not grade > 0:
            continue
        above = order[: k - 1]
        matching = sum(r > 0 for r in above)
        not_matching = sum(r == 0 for r in above)
        if len(above) == matching + not_matching:
            values.append((1 + matching) / k)
        else:
            share = (matching + epsilon) / (matching + not_matching + 2 * epsilon)
            values.append(1 / k + (k - 1) / k * share)
    return sum(values) / len(values) if values else math.nan
