"""Array functions: divergences KL(p || q), summed over the event, averaged over the rest.

The parameters of p come first, then those of q in the same order.
"""

from typing import Any

from array_api_compat import array_namespace

from .array_functions import array_function_of, equal_vectors
from .array_pieces import log_softmax


@array_function_of("divergence", infer=equal_vectors)
def gaussian_kl(mean_p: Any, log_std_p: Any, mean_q: Any, log_std_q: Any) -> Any:
    """mean sum_i [s_q - s_p + (e^(2 s_p) + (m_p - m_q)^2) / (2 e^(2 s_q)) - 1/2], s = log std."""
    xp = array_namespace(mean_p)
    wider = log_std_p - log_std_q
    away = (mean_p - mean_q) * xp.exp(-log_std_q)
    return xp.mean(xp.sum((xp.exp(2 * wider) + away**2 - 1) / 2 - wider, axis=-1))


@array_function_of("divergence", infer=equal_vectors)
def categorical_kl(logits_p: Any, logits_q: Any) -> Any:
    """mean sum_i p_i (log p_i - log q_i), the distributions being softmaxes over the last axis."""
    xp = array_namespace(logits_p)
    log_p, log_q = log_softmax(logits_p), log_softmax(logits_q)
    return xp.mean(xp.sum(xp.exp(log_p) * (log_p - log_q), axis=-1))
