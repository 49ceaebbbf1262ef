"""The laws of environments and of their loop words: E1 to E18, one function each.

Each takes an environment and returns how many cases it has tried: 0 where the law says nothing
about that environment, such as one of inverses where none are declared. A broken law raises
`BrokenLaw`, an AssertionError, with the shortest counterexample that there is or was found.
Small environments are tried exhaustively, others on the states that are nearest to their starts.

What a law judges besides the environment (a sampler of loops, a map of opposites, a verdict on the
place map) is an argument, so that another one can be judged as well.
"""

from collections.abc import Callable, Collection

from ..errors import nearest, user_line
from ..words.environment import Environment, WordError
from .environment_cases import BrokenLaw as BrokenLaw
from .loop_laws import e8_state_loops_concatenate as e8_state_loops_concatenate
from .loop_laws import (
    e9_place_loops_concatenate_for_a_congruence as e9_place_loops_concatenate_for_a_congruence,
)
from .loop_laws import e10_generated_words_close as e10_generated_words_close
from .loop_laws import e11_the_generator_reaches_everything as e11_the_generator_reaches_everything
from .loop_laws import e12_no_word_from_a_transient_state as e12_no_word_from_a_transient_state
from .loop_laws import e13_every_length_is_generated as e13_every_length_is_generated
from .loop_laws import e14_reduced_loops_need_a_cycle as e14_reduced_loops_need_a_cycle
from .loop_laws import e16_vacuity_is_reported as e16_vacuity_is_reported
from .loop_laws import e17_names_do_not_matter as e17_names_do_not_matter
from .step_laws import e1_the_empty_word_stays as e1_the_empty_word_stays
from .step_laws import e2_words_compose as e2_words_compose
from .step_laws import e3_a_seed_repeats as e3_a_seed_repeats
from .step_laws import e4_steps_are_total as e4_steps_are_total
from .step_laws import e5_inverses_return as e5_inverses_return
from .step_laws import e6_no_inverse_of_a_blocked_move as e6_no_inverse_of_a_blocked_move
from .step_laws import e7_reduction_keeps_unblocked_ends as e7_reduction_keeps_unblocked_ends
from .step_laws import e15_place_ignores_nuisance as e15_place_ignores_nuisance
from .step_laws import e18_kernels_are_probabilities as e18_kernels_are_probabilities

LAWS: dict[str, Callable[..., int]] = {
    "E1": e1_the_empty_word_stays,
    "E2": e2_words_compose,
    "E3": e3_a_seed_repeats,
    "E4": e4_steps_are_total,
    "E5": e5_inverses_return,
    "E6": e6_no_inverse_of_a_blocked_move,
    "E7": e7_reduction_keeps_unblocked_ends,
    "E8": e8_state_loops_concatenate,
    "E9": e9_place_loops_concatenate_for_a_congruence,
    "E10": e10_generated_words_close,
    "E11": e11_the_generator_reaches_everything,
    "E12": e12_no_word_from_a_transient_state,
    "E13": e13_every_length_is_generated,
    "E14": e14_reduced_loops_need_a_cycle,
    "E15": e15_place_ignores_nuisance,
    "E16": e16_vacuity_is_reported,
    "E17": e17_names_do_not_matter,
    "E18": e18_kernels_are_probabilities,
}


def check_environment(
    environment: Environment, *, leave_out: Collection[str] = ()
) -> dict[str, int]:
    """Tries every law on an environment: law -> how many cases were tried.

    E4 comes first: without it the others mean nothing.

    Args:
        leave_out: names of laws, such as "E3", that are not to be tried.

    Raises:
        BrokenLaw: the first law that is broken, with its shortest counterexample.
        WordError: there is no such law.
    """
    __tracebackhide__ = True
    for name in leave_out:
        if name not in LAWS:
            raise WordError(f"{user_line()}there is no law {name!r}.{nearest(name, LAWS)}")
    tried = {
        name: LAWS[name](environment)
        for name in sorted(LAWS, key=lambda name: name != "E4")
        if name not in leave_out
    }
    return {name: tried[name] for name in LAWS if name in tried}
