"""The rules: one table for messages, `latentroles explain`, the docs page and the tests' ids.

A rule says that an incentive is present, and on which path. It cannot say how much harm is done:
each names the measurement that would settle it.

Codes: LR1xx wiring, LR2xx pressures that a loss puts on a latent, LR3xx what a role requires,
LR4xx what only an audit of running code can see.
"""

from dataclasses import dataclass
from textwrap import dedent, indent

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        code: its number, such as "LR201".
        slug: its name, such as "action-identity"; what `s.allow` and a role's contract use.
        severity: one of `SEVERITIES`; None where the role of the latent decides.
        meaning: when it fires, in one line.
        message: what a finding says; `{loss}`, `{subject}`, `{role}` and the like are filled in.
        why: what is wrong with it.
        fix: what to do, filled in like the message.
        measure: what would settle how much it matters; "" where nothing is open.
        example: a few lines in which it fires.
        in_code: the fix for running code, which the audits say; "" where `fix` serves both.
    """

    code: str
    slug: str
    severity: str | None
    meaning: str
    message: str
    why: str
    fix: str
    measure: str = ""
    example: str = ""
    in_code: str = ""

    @property
    def level(self) -> str:
        """The severity in words."""
        return self.severity or "error or warning, as the role of the latent says"

    def _spoken(self, template: str) -> str:
        """A template read without a finding: of a latent z, an encoder, an action."""
        of_modules = self.code[:3] in ("LR1", "LR4")
        return template.format_map(_Example(_EXAMPLE, subject="encoder" if of_modules else "z"))

    def explain(self) -> str:
        """The long form that `latentroles explain` prints."""
        parts = [f"{self.code} {self.slug} ({self.level})", self.meaning, self._spoken(self.why)]
        if self.example:
            parts.append("Example:\n" + indent(dedent(self.example).strip(), "    "))
        parts.append(f"Fix: {self._spoken(self.fix)}")
        if self.in_code:
            parts.append(f"In running code: {self._spoken(self.in_code)}")
        if self.measure:
            parts.append(f"Measure: {self.measure}")
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """The same as a section of a page."""
        parts = [f"### {self.code} {self.slug}", f"*{self.level}.* {self.meaning}"]
        parts.append(self._spoken(self.why))
        if self.example:
            parts.append(f"```python\n{dedent(self.example).strip()}\n```")
        settled = f" **Measure:** {self.measure}." if self.measure else ""
        parts.append(f"**Fix:** {self._spoken(self.fix)}.{settled}")
        if self.in_code:
            parts.append(f"**In running code:** {self._spoken(self.in_code)}.")
        return "\n\n".join(parts)


class _Example(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return f"the {key.replace('_', ' ')}"


_EXAMPLE = {
    "latents": "z[t]",
    "actions": "a[t]",
    "module": "encoder",
    "gap": "several",
    "source": "z",
    "path": "the path that the finding shows",
    "remedy": "add what is missing: a reconstruction or a regulariser for a place, a measurement "
    "for a pose",
}

_LEAKAGE = "latentroles evaluate RUN --only leakage"
_CLOSURE = "latentroles evaluate RUN"
_COLLAPSE = "the spread and the rank of the latent as it trains"

_ALL = (
    # Wiring ---------------------------------------------------------------------------------
    Rule(
        "LR101",
        "vacuous-loss",
        "error",
        "A distance between two things that are equal by construction: it is 0 and moves nothing.",
        "loss `{loss}` compares two things that are equal by construction: {detail}",
        "Written out down to the modules, every term of the difference cancels, as in a sum that "
        "telescopes or a target that is computed from the prediction. The loss is 0 for every "
        "weight and every batch, and hides that the intended constraint is missing.",
        "give it a target that does not follow from the prediction: a learned head, a measurement, "
        "a label",
        example="""
            d = h.t[1:] - h.t[:-1]
            s.loss("additivity_h", lr.losses.mse(d.t[:-1] + d.t[1:], h.t[2:] - h.t[:-2]))
        """,
    ),
    Rule(
        "LR102",
        "duplicate-loss",
        "note",
        "Two losses are the same expression, up to weight or the first frame.",
        "loss `{loss}` is loss `{other}` again{detail}",
        "The two add up: together they are one loss with the sum of the weights, and a table of "
        "losses that shows both suggests two constraints where there is one.",
        "keep one of them, or say in `because` why both names are kept",
        example="""
            s.loss("jepa", lr.losses.mse(h_to_z(h.t[1:]), z.t[1:].stop()))
            s.loss("h2z", lr.losses.mse(h_to_z(h), z.stop()))
        """,
    ),
    Rule(
        "LR103",
        "dead-route",
        "error",
        "A loss reaches no module, or `updates=` names one that it cannot reach.",
        "loss `{loss}` {detail}",
        "Every path from the loss to parameters is stopped, gated or masked. The loss is computed "
        "and logged, and trains nothing.",
        "open the gate, remove the stop on the side that should learn, or remove the loss",
        example="""
            s.loss("jepa", lr.losses.mse(predict(z).stop(), z.stop()))
        """,
    ),
    Rule(
        "LR104",
        "starved-module",
        "warning",
        "A module that no loss updates: it keeps its initial weights.",
        "no loss updates module `{subject}`: {detail}",
        "A starved encoder is a random projection for the whole run, and nothing fails: losses "
        "that read it go down all the same, because the modules behind it learn.",
        "give it a loss, or open the gate that cuts it off; if it is meant to stay as it is, "
        "freeze it: `{subject}.frozen(...)` in a spec, `{subject}.requires_grad_(False)` in torch",
        example="""
            z = s.latent("z", encoder(x), role=lr.PLACE)
            s.loss("recon", lr.losses.mse(decoder(z.stop()), x))
        """,
        in_code="take away the stop that cuts it off, or give it a loss; a copy of another module "
        'belongs in targets={{"{subject}": ...}}; what is meant to stay as it is, freeze: '
        "`{subject}.requires_grad_(False)` in torch, `stop_gradient` or an argument of its own in "
        "JAX",
    ),
    Rule(
        "LR105",
        "partial-route",
        "note",
        "A loss reaches a module by one path while another path to it is stopped.",
        "loss `{loss}` updates {modules} by one path, and another path there is cut",
        "This is right in every student-teacher pair that shares an encoder (SimSiam), and wrong "
        "where the stop was meant to keep the loss out of the module altogether.",
        "nothing, if one side was meant; to keep the loss out, stop the other side too, or close "
        "the gate",
        example="""
            s.loss("agree", lr.losses.mse(predict(z.t[:-1]), z.t[1:].stop()))
        """,
    ),
    Rule(
        "LR106",
        "stale-target",
        "warning",
        "A target or a state that is read and never changes.",
        "target `{subject}` is read by {readers} and never changes: {detail}",
        "A teacher that never moves keeps teaching its random initial weights. That is the plan in "
        "random network distillation, and a forgotten update everywhere else.",
        "run the update each step; in a spec a decay below 1, or `s.update(...)` for a state",
        example="""
            teacher = s.target(encoder, decay=1.0)
            s.loss("follow", lr.losses.mse(predict(z), teacher(x)))
        """,
        in_code="run its update after the optimiser's step; where it is copied less often than "
        "every few steps, raise `steps=`",
    ),
    Rule(
        "LR107",
        "aliased-module",
        "error",
        "One parameter under two module names: the student is its own teacher.",
        "`{subject}` and `{other}` are the same parameters{detail}",
        "What is called a copy is the thing itself: the target moves with every optimiser step, "
        "and an EMA of a module with itself does nothing.",
        "make a real copy: `copy.deepcopy(module)` in torch, a new pytree from the leaves in JAX",
        example="""
            teacher = student  # and not copy.deepcopy(student)
        """,
        in_code="make a real copy and keep it: `copy.deepcopy(module)` in torch, an update such as "
        "`optax.incremental_update` instead of `teacher = student` in JAX",
    ),
    Rule(
        "LR108",
        "ungated-edge",
        "note",
        "A latent of one role feeds a latent of another with neither gate, stop nor `live()`.",
        "`{source}` ({source_role}) feeds `{subject}` ({role}) with neither a gate nor a stop",
        "Every loss on the second latent reaches the first. Whether that is meant cannot be read "
        "from the declaration, and opening or closing it later changes every such loss at once.",
        "write what is meant: `{source}.through(gate)`, `{source}.stop()` or `{source}.live()`",
        example="""
            u = lr.concat(z.t[:-1], a.one_hot())  # z.through(gate), z.stop() or z.live()
            h = s.latent("h", lr.scan(predictor, init=lr.zeros(8), xs=u), role=lr.DYNAMICS)
        """,
    ),
    Rule(
        "LR109",
        "batch-statistic",
        "note",
        "The loss couples the entries of the batch.",
        "loss `{loss}` is a statistic of the batch: {detail}",
        "Its value is not a mean over samples. Split over devices or accumulated over smaller "
        "batches, it is another loss, unless the statistic is gathered first.",
        "nothing on one device; with data parallelism, gather the batch before this loss",
        example="""
            s.loss("spread", lr.losses.vicreg(z))
        """,
    ),
    Rule(
        "LR110",
        "unused-allowance",
        "note",
        "An `s.allow(...)` that nothing needs.",
        '`s.allow("{allowed}"{detail})` allows a finding that is not there{hint}',
        "It would hide the finding, should a later change of the model bring it back.",
        "remove it",
        example="""
            s.loss("recon", lr.losses.mse(decoder(z), x))
            s.allow("temporal-adjacency", latent="z", because="the frames are far apart")
        """,
    ),
    # Pressures ------------------------------------------------------------------------------
    Rule(
        "LR201",
        "action-identity",
        None,
        "A loss rewards the latent for revealing the action that was taken.",
        "loss `{loss}` rewards `{subject}` ({role}) for revealing the action taken",
        "A place descriptor must be the same after a loop such as RIGHT, LEFT; here the reward is "
        "for making {actions} readable from {latents}, on top of what the place itself tells.",
        "read a DYNAMICS latent instead, or stop `{subject}`: `{subject}.stop()`",
        _LEAKAGE,
        """
            pair = lr.concat(z.t[:-1], z.t[1:])
            s.loss("inverse_dynamics_z", lr.losses.cross_entropy(head(pair), a))
        """,
    ),
    Rule(
        "LR202",
        "action-leak",
        None,
        "A loss asks for an action that is an input of what it reads: the answer is in the input.",
        "loss `{loss}` asks `{subject}` ({role}) for {actions}, and {actions} is an input of what "
        "it reads",
        "The cheapest solution passes the action on and learns nothing about its effect. Where a "
        "place latent such as {latents} is on the way, the copy breaks loop closure.",
        "read the latent from before the action, or stop `{subject}` in this loss",
        _LEAKAGE,
        """
            # h[t+1] was computed from a[t]
            pair = lr.concat(h.t[:-1], h.t[1:])
            s.loss("inverse_dynamics_h", lr.losses.cross_entropy(head(pair), a))
        """,
    ),
    Rule(
        "LR203",
        "action-additivity",
        None,
        "A loss makes differences of the latent a function of the action alone.",
        "loss `{loss}` makes `{subject}` ({role}) add up under actions: {detail}",
        "A latent whose steps depend on the action alone is a coordinate that composes: a pose. It "
        "drifts over loops wherever walls or momentum make the same actions end elsewhere.",
        "put the loss on a POSE latent, or stop `{subject}` in it",
        _CLOSURE,
        """
            s.loss("action_delta_z", lr.losses.mse(prototype(a.one_hot()), z.t[1:] - z.t[:-1]))
        """,
    ),
    Rule(
        "LR204",
        "temporal-adjacency",
        None,
        "A loss pulls the latent at one time towards the latent at another, whatever was done.",
        "loss `{loss}` pulls `{subject}` ({role}) at one time towards itself at another",
        "Neighbours in time become neighbours in the latent, whether or not the agent stayed at "
        "the place: {subject} then describes when, and revisits are far apart.",
        "choose pairs by a place label, or put the loss on a DYNAMICS latent",
        _CLOSURE,
        """
            s.loss("z_smooth", lr.losses.mse(z.t[1:], z.t[:-1]))
        """,
    ),
    Rule(
        "LR205",
        "conditioned-prediction",
        None,
        "A loss predicts the latent one step ahead from the action, with gradient into the latent.",
        "loss `{loss}` shapes `{subject}` ({role}) to be predictable one step ahead",
        "The latent is rewarded for keeping what the next one follows from ({latents}), and for "
        "dropping what is hard to predict. Velocity and phase are of the first kind.",
        "stop `{subject}` where the predictor reads it: `{subject}.stop()` or a closed gate",
        _LEAKAGE,
        """
            guess = step(lr.concat(z.t[:-1], a.one_hot()))
            s.loss("jepa", lr.losses.mse(guess, z.t[1:].stop()))
        """,
    ),
    Rule(
        "LR206",
        "open-loop-rollout",
        None,
        "A loss predicts the latent two or more steps ahead without looking again.",
        "loss `{loss}` shapes `{subject}` ({role}) to be predictable {gap} steps ahead, open loop",
        "To be rolled out for {gap} steps the latent must carry a state of motion: this rewards "
        "velocity and phase in {latents} as well as the place.",
        "roll out a DYNAMICS latent from `{subject}.stop()`",
        _LEAKAGE,
        """
            z_hat = lr.rollout(forward, start=z.t[:-4], xs=a.one_hot(), horizon=4)
            s.loss("rollout_kstep_z", lr.losses.mse(z_hat, z.t[1:].windows(4).stop()))
        """,
    ),
    Rule(
        "LR207",
        "under-conditioned",
        "warning",
        "A prediction across a gap of time that does not read all the actions in between.",
        "loss `{loss}` predicts {target} from {source} without reading {actions}",
        "What happens in between depends on actions that the predictor cannot see, so that it "
        "learns their average. An index that is off by one looks like this.",
        "pass {actions} to the predictor",
        example="""
            # off by one: a.t[1:] leads away from frame t + 1, not to it
            guess = step(lr.concat(z.t[:-2], a.t[1:].one_hot()))
            s.loss("forward", lr.losses.mse(guess, z.t[1:-1].stop()))
        """,
    ),
    Rule(
        "LR208",
        "rendered-prediction",
        None,
        "A loss compares pixels rendered from a predicted latent with a later frame.",
        "loss `{loss}` asks `{subject}` ({role}) for {target}, which lies ahead of {latents}",
        "To draw a later frame, the latent at {latents} must hold what will have changed by then: "
        "motion, and the way the agent is going.",
        "decode `{subject}` at its own time, or render a DYNAMICS latent",
        _LEAKAGE,
        """
            s.loss("rollout_recon_z", lr.losses.mse(decoder(z_hat), x.t[1:].windows(4)))
        """,
    ),
    Rule(
        "LR209",
        "observation-sufficiency",
        None,
        "A loss reconstructs the observation: the latent must hold all that can be seen.",
        "loss `{loss}` rewards `{subject}` ({role}) for holding all of {target}",
        "What is seen at a place but is not the place (heading, moving things, light) is rewarded "
        "like the place itself.",
        "allow it with a reason if the frames are needed, or close the gate into the decoder",
        _CLOSURE,
        """
            s.loss("recon", lr.losses.mse(decoder(z), x))
        """,
    ),
    Rule(
        "LR210",
        "off-manifold-encoder",
        None,
        "A loss trains the encoder on something that is not an observation.",
        "loss `{loss}` trains `{module}`, which makes `{subject}` ({role}), on {detail}",
        "The encoder is bent to agree with what a decoder or a predictor produces. It then maps "
        "the real frame and the imagined one together, and loses what tells them apart.",
        "apply it frozen: `{module}.frozen(...)`, or stop its result",
        _CLOSURE,
        """
            again = encoder(decoder(z_hat))
            s.loss("rollout_project_z", lr.losses.mse(again, z.t[1:].windows(4).stop()))
        """,
    ),
    Rule(
        "LR211",
        "target-live",
        None,
        "Both sides of a prediction are live: the target moves towards the prediction.",
        "loss `{loss}` moves its own target: {detail}",
        "The pair can agree by both becoming constant, and the target is drawn to what is easy to "
        "predict.",
        "stop the target: `.stop()` in a spec, `.detach()` or `stop_gradient` in code, or an EMA "
        "copy",
        _COLLAPSE,
        """
            s.loss("jepa", lr.losses.mse(predict(z.t[:-1]), z.t[1:]))  # z.t[1:].stop()
        """,
        in_code="compute the target under `torch.no_grad()`, or `.detach()` it, in torch; "
        "`stop_gradient` it in JAX",
    ),
    Rule(
        "LR212",
        "history-admitting",
        None,
        "The latent is computed from more than the observation of its own time.",
        "`{subject}` ({role}) is computed from {detail}",
        "What reads the past can remember it: exact return of the frame no longer gives exact "
        "return of the latent.",
        "compute `{subject}` from its own frame, or give it the role DYNAMICS",
        _LEAKAGE,
        """
            z = s.latent("z", lr.scan(gru, init=lr.zeros(8), xs=encoder(x)), role=lr.PLACE)
        """,
    ),
    # Requirements ---------------------------------------------------------------------------
    Rule(
        "LR301",
        "requirement-unmet",
        "warning",
        "A role requires something that the declaration does not have.",
        "`{subject}` ({role}) needs {detail}",
        "A latent that only has to agree with other latents agrees best when all are constant; a "
        "pose that nothing measures may not compose.",
        "{remedy}",
        _COLLAPSE,
        """
            # the only loss that reaches z
            s.loss("jepa", lr.losses.mse(predict(z.t[:-1]), z.t[1:].stop()))
        """,
    ),
    # Audits ---------------------------------------------------------------------------------
    Rule(
        "LR401",
        "unowned-parameters",
        "warning",
        "A loss reaches parameters that are in no optimiser.",
        "the gradient of {losses} reaches {parameters} of `{subject}`, which no optimiser holds",
        "Their gradient is computed and never used: they keep their values. For a teacher this "
        "means that its target was not stopped, for anything else that it was forgotten.",
        "add the parameters to an optimiser, or keep the loss out of `{subject}`",
        example="""
            optimiser = torch.optim.Adam(decoder.parameters())  # and the encoder?
        """,
    ),
    Rule(
        "LR402",
        "two-optimisers",
        "warning",
        "One parameter is held by two optimisers.",
        "{parameters} of `{subject}` are in optimisers {optimisers}",
        "Each step moves them twice, with two sets of moments, and weight decay counts twice.",
        "give each parameter to one optimiser",
    ),
    Rule(
        "LR403",
        "idle-parameters",
        "warning",
        "An optimiser holds parameters that no loss of its own reaches.",
        "optimiser `{optimiser}` holds {parameters} of `{subject}`, which {detail}",
        "A stop too many, or the wrong parameter list. In torch they stay as they are; in optax "
        "weight decay and momentum still move them.",
        "remove the stop that starves them, or take them out of the optimiser",
    ),
    Rule(
        "LR404",
        "stray-gradient",
        "note",
        "A loss leaves gradient in parameters that another loss's optimiser owns.",
        "loss `{loss}` reaches {parameters} of `{subject}`, which optimiser `{optimiser}` "
        "owns{detail}",
        "The next step of that optimiser applies it, unless the gradients are cleared in between: "
        "a leak that depends on the order of two lines. An audit of one step cannot tell and says "
        "it as a note; watched steps that did apply it are a warning.",
        "clear the gradients of `{subject}` before its own backward pass, or stop the path; in "
        "JAX, differentiate each loss by its own modules",
        example="""
            actor_loss = -critic(actor(z)).mean()  # fills critic.grad as well
        """,
    ),
    Rule(
        "LR405",
        "never-moved",
        "error",
        "A module that a loss reaches did not move.",
        "`{subject}` did not move in {steps} steps, although the gradient of {losses} reaches it",
        "The gradient arrives and is not applied: no optimiser holds it, its learning rate is 0, "
        "or its update is thrown away.",
        "check that its parameters are in the optimiser that is stepped, and that the new ones are "
        "kept",
    ),
    Rule(
        "LR406",
        "moved-without-route",
        "warning",
        "A module moved that no loss reaches.",
        "`{subject}` moved in {moved} of {steps} steps, and no loss reaches it ({detail})",
        "Weight decay, stale momentum, running statistics or a hand-written update move it.",
        "if it is an EMA copy, name it in targets=; else take it out of the optimiser, or set its "
        "norms to eval()",
    ),
    Rule(
        "LR407",
        "flat-loss",
        "error",
        "A loss whose value or gradient is zero for every draw.",
        "loss `{loss}` {detail} in all {steps} draws",
        "It is computed and logged, and cannot train anything.",
        "look for two sides that are the same, a mask that is always 0, or a detached prediction",
    ),
    Rule(
        "LR408",
        "unstable-routes",
        "warning",
        "The routes of a loss differ from step to step.",
        "the routes of loss `{loss}` differ between steps: {detail}",
        "A branch of Python depends on the step or the batch. A route that comes and goes is "
        "trained with another effective weight, and a single audit does not see it.",
        "make the routes the same at every step, or audit each branch by itself",
    ),
    Rule(
        "LR409",
        "silent-route",
        "note",
        "A route that exists in the structure and carries no gradient in any draw.",
        "loss `{loss}` is connected to `{subject}`, and its gradient there was zero in every draw",
        "A product with 0, a dead unit, or a branch that was not taken. The structure cannot tell "
        "which.",
        "look at the path: {path}",
    ),
    Rule(
        "LR410",
        "unexpected-route",
        "error",
        "A loss updates what was not expected.",
        "loss `{loss}` updates {what}, which is not expected{detail}",
        "The route is in the code and not in the table that it was compared with.",
        "stop the path, or add `{subject}` to the expected routes of `{loss}`",
    ),
    Rule(
        "LR411",
        "missing-route",
        "error",
        "A loss does not update what was expected.",
        "loss `{loss}` does not update {what}, which is expected{detail}",
        "The route is in the table that the code was compared with and not in the code: usually a "
        "`detach` too many, or a tensor that was made anew from numbers.",
        "look for the last tensor on the way that still has a gradient",
    ),
    Rule(
        "LR412",
        "hidden-route",
        "error",
        "A gradient that the structure does not have.",
        "loss `{loss}` has a gradient at `{subject}`, and its program has no path there",
        "A custom derivative rule does something that its program does not show.",
        "look at the custom_vjp and custom_jvp functions on the way",
    ),
    Rule(
        "LR413",
        "routes-unknown",
        "warning",
        "Steps were watched whose losses gave no routes to compare with.",
        "{detail}: what moved was not compared with the routes",
        "Only movement was seen. A loss that moves its target, a gradient that the wrong optimiser "
        "applies, or a module that moves without a loss was not looked for.",
        "return {{name: loss}} from the step, the tensors that were differentiated (torch), or "
        "pass `routes=audit.routes(...)`; leave out numbers that are no losses",
        example="""
            return {"actor": actor_loss.item()}  # and not actor_loss
        """,
    ),
    Rule(
        "LR414",
        "unnamed-parameters",
        "warning",
        "An optimiser holds parameters that are in no named module.",
        "optimiser `{optimiser}` holds {parameters} in none of the named modules",
        "The audit is blind to what it was not told of: routes into these parameters, and their "
        "movement, are in no table.",
        "name their module in modules=",
    ),
)

RULES: dict[str, Rule] = {rule.slug: rule for rule in _ALL}
CODES: dict[str, Rule] = {rule.code: rule for rule in _ALL}

# What a role may require.
REQUIREMENTS = ("anti-collapse", "composition-measure")

_SECTIONS = {
    "LR1": "Wiring",
    "LR2": "Pressures that a loss puts on a latent",
    "LR3": "What a role requires",
    "LR4": "What only an audit of running code can see",
}


def page() -> str:
    """Every rule as a Markdown page; docs/rules.md is it."""
    parts = [
        "# Rules",
        "What `lr.check` and the audits find. A rule says that an incentive is present, and on "
        "which path; it cannot say how much harm is done, so that each names the measurement that "
        "would settle it. The page is written by `latentroles explain --markdown`.",
    ]
    for prefix, title in _SECTIONS.items():
        parts.append(f"## {title}")
        parts += [rule.markdown() for rule in _ALL if rule.code.startswith(prefix)]
    return "\n\n".join(parts)
