"""The loop over epochs and batches, and what stops it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from xmr.checkpoints import Trained, clear_run, is_finished, is_started, save_run
from xmr.checkpoints.folder import FILES, check_name, check_origin
from xmr.checkpoints.resume import remove_state
from xmr.core import Step, TrainConfig
from xmr.data import Dataset
from xmr.devices import device
from xmr.disk import printable, sweep
from xmr.embedding import Progress, embed
from xmr.locks import held_for_all
from xmr.metrics import by_chance, headline
from xmr.processes import average_, first, gathered, level_, mine, share_of, shares
from xmr.scoring import measure, split_metrics, validate
from xmr.training.gradcache import cached_backward
from xmr.training.objective import Objective, State
from xmr.training.order import BATCHES, Epoch, parts, together
from xmr.training.plateau import plateau, score_spread
from xmr.training.resuming import restore, save
from xmr.training.snapshots import Recorder
from xmr.training.task import Task, prepare, seeded

if TYPE_CHECKING:
    from xmr.towers import Towers

GRADIENT_NORM = 2.0  # as VSE++
SAVE_SECONDS = 60.0  # an epoch that takes longer is saved in between


class TrainingDiverged(ArithmeticError):
    """The loss or its gradient is not finite: `loss` (the name), `step`, `lr` and the loss's `value` say where.

    `kept` says in words what is left; `trained` is the best epoch before, None where none was finished.
    """

    def __init__(self, loss: str, step: int, lr: float, value: float):
        super().__init__(loss, step, lr, value)
        self.loss, self.step, self.lr, self.value = loss, step, lr, value
        self.kept = "no epoch was finished, so there is no checkpoint to keep"
        self.trained: Trained | None = None

    def __str__(self) -> str:
        broken = "the gradient of " * math.isfinite(self.value) + self.loss
        became = "infinite or NaN" if math.isfinite(self.value) else str(self.value)
        return f"{broken} became {became} at step {self.step} (lr {self.lr:.3g}); {self.kept}. A lower --lr may help"


def train(
    config: TrainConfig,
    run_dir: str | Path | None = None,
    resume: bool = False,
    *,
    overwrite: bool = False,
    load: Callable[[str], Dataset] | None = None,
    progress: Progress | None = None,
    command: str = "",
    epoch_files: bool = False,
) -> Generator[Step, None, Trained]:
    """Trains step by step; the last step of an epoch carries the validation metrics.

    The generator's return value is what was trained, with the weights of the best epoch by validation rsum (mAP where
    there are class labels) and the metrics of the test split; with `run_dir` it is also saved there. `resume` goes on from the state in `run_dir`,
    if there is one; `overwrite` replaces the run that is there, once nothing is wrong with this one. `load` replaces `load_dataset` (split -> Dataset); `progress` hears of features being encoded;
    `command` is kept in the run; `epoch_files` writes epoch_N.pt of towers into its folder, as open_clip's trainer does.

    Of several processes (`xmr.processes.together`) each embeds its share of every batch, and the first one writes.

    Raises UnknownName, TypeError or ValueError on a configuration that does not fit, DataFault, CannotSave, and
    TrainingDiverged, after the best epoch so far was saved; Held where another process trains into `run_dir`, and
    RunRefused where its name, or a text of the configuration, can't be written.
    """
    folder = None if run_dir is None else Path(run_dir)
    if folder is None:
        return (yield from _train(_Trainer(prepare(config, load, progress), command), None))
    check_name(folder.resolve().name)
    with held_for_all(folder):
        if not overwrite and first(lambda: is_finished(folder) or (is_started(folder) and not resume)):
            raise FileExistsError(f"{folder} holds a run already; resume it or clear_run first")
        trainer = _Trainer(prepare(config, load, progress), printable(command))
        check_origin(trainer.config, trainer.task.dataset, trainer.task.encoder)
        if overwrite:
            first(lambda: clear_run(folder))
        elif resume:
            restore(trainer, folder)
        trainer.epoch_files = folder if epoch_files else None
        # A folder that can't be written is told before the work, not after it.
        first(lambda: (sweep(folder, FILES), save(trainer, folder)))
        return (yield from _train(trainer, folder))


def _train(trainer: _Trainer, folder: Path | None) -> Generator[Step, None, Trained]:
    try:
        yield from trainer.steps(folder)
    except TrainingDiverged as error:
        if trainer.state.best_epoch:
            error.trained = trainer.finish({"step": error.step, "lr": error.lr, "value": str(error.value)})
            error.kept = f"the best checkpoint so far (epoch {trainer.state.best_epoch}) is kept"
            if folder is not None:
                error.kept += f" in {folder.resolve()}"
                _keep(folder, error.trained)
        if folder is not None:
            first(lambda: remove_state(folder))
        raise
    trained = trainer.finish()
    if folder is not None:
        _keep(folder, trained)
        first(lambda: remove_state(folder))
    return trained


def _keep(folder: Path, trained: Trained) -> None:
    def write() -> None:
        save_run(folder, trained)

    first(write)


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Rises linearly over `warmup` steps (at most a tenth of all), then falls to zero in a half cosine.

    `step` counts from 0.
    """
    warmup = min(warmup, steps // 10)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


class _Trainer:
    def __init__(self, task: Task, command: str):
        self.task, self.config, self.command = task, task.config, command
        self.matcher, self.state = task.matcher.to(device()), State()
        self.objective = Objective(task, self.state)
        self.hyper, self.metric_from = self.objective.hyper, self.objective.metric_from
        self.towers: Towers | None = None if self.config.tune == "none" else task.matcher
        self.epoch_files: Path | None = None
        self.order: np.ndarray | None = None  # of the pairs, in the epoch that runs
        self.best: dict[str, Tensor] = {}
        self.best_learned: dict[str, float] = {}
        self.per_epoch = math.ceil(len(task.data["train"].captions) / self.config.batch_size)
        self.recorder = Recorder(
            task.data["test"], task.inputs["test"], self.matcher, self.config.epochs * self.per_epoch
        )
        self.peak = self.config.lr if self.towers is None else self.config.lr_towers
        learned = self.matcher.named_parameters(prefix="matcher")
        self.parameters = {name: parameter for name, parameter in learned if parameter.requires_grad}
        self.parameters |= dict(self.hyper.named_parameters(prefix="loss"))
        # The running mean of all that learns; empty where none is kept.
        self.mean = (
            {n: p.detach().clone() for n, p in self.parameters.items() if n.startswith("matcher.")}
            if self.config.ema
            else {}
        )
        self.optimiser = torch.optim.AdamW(self.groups(), lr=self.peak, fused=True)
        count = len(task.data["train"].captions)
        if count // self.per_epoch < shares():
            raise ValueError(
                f"{shares()} processes share out batches of {count // self.per_epoch} pairs: start fewer, or make --batch-size larger"
            )
        level_(self.matcher.state_dict().values())

    def groups(self) -> list[dict[str, Any]]:
        """The parameters as the optimiser takes them, `rate` being what each multiplies the learning rate by."""
        rates = {} if self.towers is None else {f"matcher.{k}": r for k, r in self.towers.rates().items()}
        of_loss = self.config.lr / self.peak
        found: dict[tuple[float, float], list[Tensor]] = {}
        for decays in (True, False):
            for name, parameter in self.parameters.items():
                if (parameter.ndim > 1) == decays:
                    rate = of_loss if name.startswith("loss.") else rates.get(name, 1.0)
                    found.setdefault((self.config.weight_decay * decays, rate), []).append(parameter)
        return [{"params": ps, "weight_decay": decay, "rate": rate} for (decay, rate), ps in found.items()]

    def steps(self, folder: Path | None) -> Iterator[Step]:
        """All steps that are left."""
        state, config = self.state, self.config
        started = saved = time.monotonic()
        before = state.seconds
        untold = not state.step and self.towers is not None
        if not state.step:
            state.untrained = headline(self.validate())[1]
        for epoch in range(state.epoch, config.epochs):
            if config.patience and state.best_epoch and epoch - state.best_epoch >= config.patience:
                break
            self.begin_epoch()
            if not state.step:
                self.record()
            order = self.batches(epoch)
            for chosen in order[state.position :]:
                loss, lr = self.update(chosen)
                self.record()
                state.position += 1
                state.seconds = before + time.monotonic() - started
                metrics = self.end_epoch(lr) if state.position == len(order) else None
                due = time.monotonic() - saved > SAVE_SECONDS
                if folder is not None and not mine() and (metrics or due):
                    save(self, folder)
                    saved = time.monotonic()
                best = metrics is not None and state.best_epoch == epoch + 1
                told = state.untrained if untold else None
                yield Step(
                    state.step, epoch + 1, config.epochs * self.per_epoch, loss, lr, metrics, best, told
                )
                untold = False

    def begin_epoch(self) -> None:
        """Where the stage of the metric network begins, what was best so far is what it starts from."""
        state = self.state
        if not 0 < self.metric_from < self.config.epochs:
            return
        if state.epoch == self.metric_from and not state.position:
            self.matcher.load_state_dict(self.best)
            state.best_epoch, state.best_metrics = 0, {}
        self.matcher.scores_by_metric = state.epoch >= self.metric_from

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The epoch's batches; where it was interrupted, those that it began with."""
        config, data = self.config, self.task.data["train"]
        if self.order is None:
            rng = np.random.default_rng([config.seed, epoch])
            about = Epoch(len(data.captions), config.batch_size, rng, lambda: self.task.apart, self.embedded)
            order = BATCHES[config.batches](about)
            self.order = first(lambda: order)  # of scores, whose last bits may be others on another machine
            if config.batches != TrainConfig.batches:
                self.state.together = together(self.order, config.batch_size, self.task.apart)
        return parts(self.order, config.batch_size)

    def embedded(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit embeddings of the training pairs' visuals and texts; of a pair scorer, those of its first stage."""
        with seeded(self.config.seed, self.state.step + 1):  # crops of pictures may be drawn
            visual, text = embed(self.matcher, self.task.inputs["train"])
        return visual[self.task.data["train"].visual_of_text], text

    def update(self, texts: np.ndarray) -> tuple[float, float]:
        """One optimiser step on the captions `texts` and their visuals; returns loss and learning rate.

        Each process embeds its share of them. All ask the whole loss of all, whose gradients `gathered` sums: the mean over
        processes is that of one.
        """
        config, inputs = self.config, self.task.inputs["train"]
        visuals = self.task.data["train"].visual_of_text[texts]
        hard, lr = self.objective.hard_of(visuals), self.rate()
        own = share_of(len(texts))
        own_visuals, own_texts = visuals[own], texts[own]
        # Too few for all to have some are embedded by each.
        few = len(hard) < shares()
        own_hard = hard if few else hard[share_of(len(hard))]

        def ask(visual: Tensor, text: Tensor, wrong: Tensor | None = None) -> Tensor:
            if shares() > 1:
                visual, text = gathered(visual), gathered(text)
                wrong = wrong if few else gathered(wrong)
            return self.objective.value(visual, text, visuals, texts, wrong, hard)

        def embed_visual(rows: slice) -> Tensor:
            return self.matcher.visual(seen(rows))

        def embed_text(rows: slice) -> Tensor:
            return self.matcher.text(inputs.text_batch(own_texts[rows]))

        def embed_hard(rows: slice) -> Tensor:
            return self.matcher.text(self.task.hard.text_batch(own_hard[rows]))

        embedders, sizes = [embed_visual, embed_text], [len(own_texts)] * 2
        if len(hard):
            embedders, sizes = [*embedders, embed_hard], [*sizes, len(own_hard)]
        self.matcher.train()
        self.optimiser.zero_grad()
        with seeded(config.seed, self.state.step + 1, mine()):
            seen = inputs.visual_rows(own_visuals)
            if 0 < config.micro_batch < len(own_texts):
                loss = cached_backward(ask, embedders, sizes, config.micro_batch)
            else:
                loss = ask(*(embed(slice(None)) for embed in embedders))
                loss.backward()
        loss = loss.detach()
        average_([loss, *(p.grad for p in self.parameters.values() if p.grad is not None)])
        value = loss.item()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), GRADIENT_NORM).item()
        if not math.isfinite(value) or not math.isfinite(norm):
            raise TrainingDiverged(self.objective.rule()[0].name, self.state.step + 1, lr, value)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group["rate"]
        self.optimiser.step()
        self.hyper.clamp_()
        for name, mean in self.mean.items():
            mean.lerp_(self.parameters[name].detach(), 1 - config.ema)
        self.state.step += 1
        self.state.total += value
        return value, lr

    def rate(self) -> float:
        """The learning rate of the next step; the stage of the metric network has a schedule of its own."""
        start, end = 0, self.metric_from
        if self.state.epoch >= self.metric_from:
            start, end = self.metric_from, self.config.epochs
        done = self.state.step - start * self.per_epoch
        return learning_rate(done, (end - start) * self.per_epoch, self.peak, self.config.warmup)

    def end_epoch(self, lr: float) -> dict[str, float]:
        """Validates, keeps the weights if they are the best, and begins the next epoch."""
        state = self.state
        if not all(parameter.isfinite().all() for parameter in self.parameters.values()):
            raise TrainingDiverged(self.objective.rule()[0].name, state.step, lr, math.nan)
        level_(self.matcher.buffers())  # statistics of batch norm are of each process's own share
        with self.averaged():
            metrics = self.validate()
            state.epoch += 1
            if not state.best_metrics or headline(metrics)[1] > headline(state.best_metrics)[1]:
                state.best_epoch, state.best_metrics = state.epoch, metrics
                self.best = {key: tensor.clone() for key, tensor in self.matcher.state_dict().items()}
                self.best_learned = self.hyper.learned()
            if self.epoch_files is not None and self.towers is not None and not mine():
                self.towers.write_epoch(self.epoch_files, state.epoch, self.hyper.learned())
        line = {"epoch": state.epoch, "step": state.step, "loss": state.total / state.position, "lr": lr}
        if self.config.selector:
            line |= {"suspected": state.suspected, "negatives": state.negatives}
        if self.config.batches != TrainConfig.batches:
            line |= {"together": state.together}
        state.history.append(line | {"seconds": round(state.seconds, 2)} | self.hyper.learned() | metrics)
        state.position, state.total, state.suspected, state.negatives = 0, 0.0, 0, 0
        self.order = None
        return metrics

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """With the running mean of the weights in their place, where one is kept."""
        held = {name: self.parameters[name].detach().clone() for name in self.mean}
        try:
            for name, mean in self.mean.items():
                self.parameters[name].data.copy_(mean)
            yield
        finally:
            for name, own in held.items():
                self.parameters[name].data.copy_(own)

    def record(self) -> None:
        """Takes a snapshot where one is due, by the weights that would be kept now."""
        if self.state.step in self.recorder.due:
            with self.averaged():
                self.recorder.take(self.matcher, self.state.step)

    def validate(self) -> dict[str, float]:
        return validate(self.matcher, self.task.inputs["validation"], self.task.data["validation"])

    def interpolate(
        self, towers: Towers
    ) -> tuple[dict[str, dict[str, float]], list[dict[str, float]], tuple[Any, ...]]:
        """Puts the weights that are kept in place: `config.interpolate` of the way from those before to the best. Returns the
        metrics of validation by them, and of test before; what either split gains on the way; and what is measured of test by them."""
        after, kept, metrics, path = towers.weights(), self.config.interpolate, {}, []
        for share in (*(share for share in (0.0, 0.5, 1.0) if share != kept), kept):
            towers.take(towers.between(after, share))
            validation = self.state.best_metrics if share == 1 else self.validate()
            test, *rest = measure(towers, self.task.inputs["test"], self.task.data["test"])
            reached = {"validation": headline(validation)[1], "test": headline(test)[1]}
            path.append({"share": share} | reached)
            metrics |= {"validation": validation} | ({} if share else {"zero_shot": test})
        return metrics, sorted(path, key=lambda one: one["share"]), (test, *rest)

    def finish(self, diverged: dict[str, Any] | None = None) -> Trained:
        """The best weights, with the metrics of the test split."""
        state, data = self.state, self.task.data["test"]
        self.matcher.load_state_dict(self.best)
        metrics, path = {"validation": state.best_metrics}, []
        if self.towers is None:
            test, embeddings, scores = measure(self.matcher, self.task.inputs["test"], data)
        else:
            metrics, path, (test, embeddings, scores) = self.interpolate(self.towers)
        metrics["test"] = test
        if scores is not None:
            metrics["first_stage"] = split_metrics(data, *embeddings)
        spread = score_spread(*embeddings, scores)
        trained = Trained(
            config=self.config,
            matcher=self.matcher.cpu(),
            learned=self.best_learned,
            vocabulary=self.task.vocabulary,
            dataset=self.task.dataset,
            encoder=self.task.encoder,
            metrics=metrics,
            history=state.history,
            embeddings=embeddings,
            scores=scores,
            files=None if self.towers is None else self.towers.files(self.best_learned),
            snapshots=self.recorder.finish(state.best_epoch * self.per_epoch, embeddings, scores),
            training={
                "epochs": state.epoch,
                "steps": state.step,
                "best_epoch": state.best_epoch,
                "seconds": round(state.seconds, 2),
                "threads": torch.get_num_threads(),
                "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "command": self.command,
                "diverged": diverged,
                "texts_read": {split: asdict(read) for split, read in self.task.texts_read.items()},
                "untrained": state.untrained,
                "chance": by_chance(data.visual_group, data.text_group)["rsum"],
                **({"interpolation": path} if path else {}),
                "scores": spread if all(map(math.isfinite, spread.values())) else None,
            },
        )
        trained.training["plateau"] = plateau(trained) or None
        return trained
