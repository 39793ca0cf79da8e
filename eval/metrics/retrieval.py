"""How well texts find their poses and poses their texts, in the feature space of a retrieval model; and FID in that
space.

"R-precision" is three different numbers in the field, so there are three functions, each named after whoever reports
it, and whoever prints one prints `R_PRECISION_VARIANTS[...]` beside it. Features are L2-normalised, so cosine and
Euclid rank alike. All results are shares of 1, not percent.
"""

from collections.abc import Sequence

import numpy as np

from eval.metrics.base import Metric

R_PRECISION_VARIANTS = {
    "unipose": "pose -> texts: the true text among 31 drawn, Euclidean, hits averaged over 10 draws (UniPose §4.1)",
    "posescript": "text -> poses: pool of 32, rank of the true pose averaged over 10 draws, then compared with k",
    "batch": "text -> poses inside shuffled batches of 32, incomplete last batch dropped (text-to-motion)",
}
DEFAULT_KS = (1, 2, 3)
TIE = 1e-9  # scores nearer than this are equal: sums in another order must not break a tie


def ranks_of_truth(query: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """0-based rank of ranked[i] for query[i] among all of `ranked`, by dot product: (N, D), (N, D) -> (N,).

    Ties count against the query, so that a model that answers everything alike scores chance and not one hundred
    percent.
    """
    scores = query.astype(np.float64) @ ranked.astype(np.float64).T
    return (scores >= np.diag(scores)[:, None] - TIE).sum(axis=1) - 1


def recall_at(query: np.ndarray, ranked: np.ndarray, ks: Sequence[int]) -> dict[int, float]:
    """Share of queries whose own item is among the first k of the whole set (R^T2P: texts ask, R^P2T: poses ask)."""
    ranks = ranks_of_truth(query, ranked)
    return {k: float((ranks < k).mean()) for k in ks}


def recall_table(
    pose_features: np.ndarray, text_features: np.ndarray, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Both directions at every k, and their mean (UniPose suppl. Tab. 4; PoseScript).

    text_features (N, D) or (C, N, D): with several captions per pose, one table per caption number, averaged, as
    PoseScript does.
    """
    texts = text_features[None] if text_features.ndim == 2 else text_features
    tables = []
    for text in texts:
        t2p, p2t = recall_at(text, pose_features, ks), recall_at(pose_features, text, ks)
        tables.append({**{f"r_t2p_{k}": t2p[k] for k in ks}, **{f"r_p2t_{k}": p2t[k] for k in ks}})
    mean = {name: float(np.mean([table[name] for table in tables])) for name in tables[0]}
    return {**mean, "mrecall": float(np.mean(list(mean.values())))}


def draw_pools(n: int, pool: int, repetitions: int, rng: np.random.Generator) -> np.ndarray:
    """For every item and repetition, `pool`-1 others without replacement: (n, repetitions, pool-1)."""
    others = min(pool, n) - 1
    keys = rng.random((n, repetitions, n - 1)) if n <= 512 else None
    if keys is not None:
        drawn = (
            np.argpartition(keys, others - 1, axis=-1)[..., :others]
            if 0 < others < n - 1
            else np.argsort(keys, axis=-1)
        )
    else:  # a full table of random keys would be n x repetitions x n numbers
        drawn = np.stack([[rng.choice(n - 1, others, replace=False) for _ in range(repetitions)] for _ in range(n)])
    return drawn + (drawn >= np.arange(n)[:, None, None])  # skip the item itself


def pool_ranks(
    query: np.ndarray, ranked: np.ndarray, *, pool: int = 32, repetitions: int = 10, seed: int = 0
) -> np.ndarray:
    """0-based rank of ranked[i] for query[i] among itself and pool-1 drawn others: (N, repetitions). Ties count
    against it.

    With fewer than `pool` items the pool is all of them.
    """
    n = len(query)
    if n < 2:
        return np.zeros((n, repetitions), dtype=np.int64)
    pools = draw_pools(n, pool, repetitions, np.random.default_rng(seed))
    query, ranked = query.astype(np.float64), ranked.astype(np.float64)
    truth = np.einsum("nd,nd->n", query, ranked) - TIE
    ranks = np.empty((n, repetitions), dtype=np.int64)
    for i in range(n):
        ranks[i] = (ranked[pools[i]] @ query[i] >= truth[i]).sum(axis=-1)
    return ranks


def r_precision_unipose(
    pose_features: np.ndarray, text_features: np.ndarray, *, pool: int = 32, repetitions: int = 10, seed: int = 0
) -> dict[str, float]:
    """UniPose §4.1: each pose ranks its text among 31 mismatched ones. The paper does not say how often it draws; we
    average hits.
    """
    ranks = pool_ranks(pose_features, text_features, pool=pool, repetitions=repetitions, seed=seed)
    return {f"r_precision_top{k}": float((ranks < k).mean()) for k in DEFAULT_KS}


def r_precision_posescript(
    text_features: np.ndarray, pose_features: np.ndarray, *, pool: int = 32, repetitions: int = 10, seed: int = 0
) -> dict[str, float]:
    """PoseScript's code: each text ranks its pose; ranks are averaged over the draws first, then compared with k."""
    ranks = pool_ranks(text_features, pose_features, pool=pool, repetitions=repetitions, seed=seed)
    return {f"r_precision_posescript_top{k}": float((ranks.mean(axis=1) < k).mean()) for k in DEFAULT_KS}


def r_precision_batch(
    text_features: np.ndarray, pose_features: np.ndarray, *, batch: int = 32, seed: int | None = 0
) -> dict[str, float]:
    """Text-to-motion's: inside batches of 32, the rank of the own pose in ascending Euclidean distance. seed=None: no
    shuffle.
    """
    order = (
        np.arange(len(text_features)) if seed is None else np.random.default_rng(seed).permutation(len(text_features))
    )
    batch = min(batch, len(order))
    ranks = []
    for start in range(0, len(order) - batch + 1, batch):
        rows = order[start : start + batch]
        distance = np.linalg.norm(text_features[rows][:, None] - pose_features[rows][None], axis=-1)
        ranks.append((distance <= np.diag(distance)[:, None] + TIE).sum(axis=1) - 1)
    ranks = np.concatenate(ranks) if ranks else np.zeros(0)
    return {f"r_precision_batch_top{k}": float((ranks < k).mean()) for k in DEFAULT_KS}


def chance_r_precision(n: int, pool: int = 32) -> dict[str, float]:
    """What guessing reaches: k in 32."""
    return {f"r_precision_top{k}": min(1.0, k / min(pool, max(n, 1))) for k in DEFAULT_KS}


def fid(real: np.ndarray, generated: np.ndarray) -> float:
    """Fréchet distance of two Gaussians fitted to (N, D) features; covariances with ddof 1.

    Below D samples the covariance is singular and the value is biased upwards: compare only values from equal sample
    counts.
    """
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    return fid_of_gaussians(
        real.mean(0), np.cov(real, rowvar=False, ddof=1), generated.mean(0), np.cov(generated, rowvar=False, ddof=1)
    )


def fid_of_gaussians(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """|m_a - m_b|² + Tr(C_a) + Tr(C_b) - 2 Tr(sqrt(C_a C_b)).

    C_a C_b has the eigenvalues of the symmetric S C_b S with S = sqrt(C_a), so the trace needs no general matrix root
    and stays real (the usual code takes scipy's sqrtm, adds 1e-6 to the diagonals when that fails, and drops the
    imaginary part).
    """
    values, vectors = np.linalg.eigh(np.atleast_2d(cov_a))
    root_a = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root_a @ np.atleast_2d(cov_b) @ root_a).clip(0)).sum()
    gap = np.asarray(mean_a) - np.asarray(mean_b)
    return max(0.0, float(gap @ gap + np.trace(np.atleast_2d(cov_a)) + np.trace(np.atleast_2d(cov_b)) - 2 * cross))


class RetrievalPrecision(Metric[tuple[np.ndarray, np.ndarray]]):
    """R-precision (three variants) and recalls of features collected record by record."""

    def __init__(self, ks: Sequence[int] = (1, 5, 10), seed: int = 0) -> None:
        super().__init__()
        self.ks, self.seed = tuple(ks), seed

    def update(self, ids: Sequence[str], pose_features: np.ndarray, text_features: np.ndarray) -> None:
        self.add(ids, zip(np.asarray(pose_features), np.asarray(text_features), strict=True))

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        rows = self.ordered()
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    def compute(self) -> dict[str, float]:
        if not self.rows:
            return {"n": 0}
        pose, text = self.features()
        return {
            **r_precision_unipose(pose, text, seed=self.seed),
            **r_precision_posescript(text, pose, seed=self.seed),
            **r_precision_batch(text, pose, seed=self.seed),
            **recall_table(pose, text, self.ks),
            "n": len(self),
        }
