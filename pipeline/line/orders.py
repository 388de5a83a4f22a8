"""Carries out orders on a running line: another bundle or threshold, a shadow run, a pause, a picture."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.bundle import Bundle, open_bundle, read_bundle
from engines.closing import closed_on_error
from engines.errors import ConfigError
from pipeline.line.model import Model, ModelSlot
from pipeline.line.shadows import Shadows
from pipeline.protocol.orders import Answer, Order
from pipeline.publish.metrics import Status
from pipeline.sources.source import Source

log = logging.getLogger(__name__)


class Orders:
    """Carries out orders on a running line; safe to use from any thread.

    Args:
        slot: holds the current model.
        open_model: makes a model of a deployed bundle.
        sources: take the triggers.
        paused: set while frames are answered without inspection.
        status: describes the line.
        shadows: lets a candidate judge parts beside the running bundle.
    """

    def __init__(
        self,
        slot: ModelSlot,
        open_model: Callable[[Bundle], Model],
        sources: Sequence[Source],
        paused: threading.Event,
        status: Callable[[], Status],
        shadows: Shadows,
    ) -> None:
        self._slot, self._open_model, self._sources = slot, open_model, tuple(sources)
        self._paused, self._status, self._shadows = paused, status, shadows
        self._deploying = threading.Lock()

    def obey(self, order: Order) -> Answer:
        """Carries out an order and returns the answer.

        Raises:
            TaktlineError: it cannot be carried out; the line continues as before.
        """
        if order.do == "deploy" and order.bundle is not None:
            self.deploy(Path(order.bundle), order.other_part, order.sha256)
        elif order.do == "shadow" and order.bundle is not None and order.parts is not None:
            self.shadow(Path(order.bundle), order.parts)
        elif order.do == "cancel-shadow":
            self._shadows.end("it was cancelled")
        elif order.do == "report-shadow":
            return self._shadows.report(order.start)
        elif order.do == "rollback":
            self.roll_back()
        elif order.do == "threshold" and order.threshold is not None:
            self.set_threshold(order.threshold)
        elif order.do == "pause":
            self.pause()
        elif order.do == "resume":
            self.resume()
        elif order.do == "trigger" and order.camera is not None:
            self.trigger(order.camera, order.part)
            # A short answer, because the next part is on its way.
            return {}
        elif order.do != "status":
            raise ConfigError(f"the order {order.do} is incomplete; use `taktline {order.do} --help`")
        return {"status": self._status()}

    def deploy(self, path: Path, other_part: bool = False, sha256: str | None = None) -> None:
        """Replaces the running bundle.

        The new one is loaded, checked and warmed up beside it; then the line switches between two batches. No frame is
        lost, and if anything is wrong with the new bundle, nothing changes.

        Args:
            path: the new bundle.
            other_part: whether it may be made for another part than the running one.
            sha256: the bundle that is meant; None for whichever lies there.

        Raises:
            TaktlineError: it cannot be used.
        """
        with self._deploying:
            bundle = open_bundle(path)
            if sha256 not in {None, bundle.sha256}:
                raise ConfigError(f"{path} holds another bundle by now ({bundle.short_id}); prove that one first")
            running = self._slot.current.bundle
            old, new = running.manifest.category, bundle.manifest.category
            if new != old and not other_part:
                raise ConfigError(
                    f"{path} was made for '{new}' and the line inspects '{old}'; if the part has changed, "
                    "add --other-part"
                )
            self._switch(bundle)

    def shadow(self, path: Path, parts: int) -> None:
        """Lets a bundle judge parts beside the running one; see `ShadowRun`. Returns before its files are checked.

        Raises:
            TaktlineError: it cannot take the running one's place, or another shadow run is under way.
        """
        with self._deploying:
            # To check its files would hold up the frames of the moment; the candidate's own process does.
            bundle = read_bundle(path)
            running = self._slot.current.bundle
            if bundle.manifest.category != running.manifest.category:
                raise ConfigError(
                    f"{path} was made for '{bundle.manifest.category}' and the line inspects "
                    f"'{running.manifest.category}'; nothing can be learnt from comparing them"
                )
            self._check_size(bundle)
            self._shadows.start(bundle, parts)

    def roll_back(self) -> None:
        """Brings the bundle back that ran before the current one. The current one is not remembered.

        Raises:
            TaktlineError: there is none, it was changed since, or it cannot be used; nothing changes.
        """
        with self._deploying:
            if not self._slot.earlier:
                raise ConfigError(
                    "the line knows no earlier bundle: none was deployed since it started; deploy one by its folder"
                )
            last = self._slot.earlier[-1]
            bundle = open_bundle(last.path)
            if bundle.sha256 != last.sha256:
                raise ConfigError(
                    f"{last.path} holds another bundle than the one that ran before ({bundle.short_id}, not "
                    f"{last.short_id}); deploy the one you want by its folder"
                )
            self._switch(bundle, back=True)

    def _switch(self, bundle: Bundle, *, back: bool = False) -> None:
        """Opens a bundle and lets the line continue with it; whoever calls it holds the lock."""
        self._check_size(bundle)
        model = self._open_model(bundle)
        with closed_on_error(model.engine):
            if model.engine.max_batch < self._slot.max_batch:
                raise ConfigError(
                    f"{bundle.path} only runs in batches of {model.engine.max_batch} here; restart the line with it"
                )
            retired = self._slot.swap(model, back=back)
        self._shadows.end("the line was given another bundle")
        retired.engine.close()
        log.warning("the line continues with the bundle %s (%s)", bundle.path, bundle.short_id)

    def _check_size(self, bundle: Bundle) -> None:
        running = self._slot.current.bundle
        if bundle.size != running.size:
            raise ConfigError(
                f"{bundle.path} takes pictures of {bundle.size[1]} x {bundle.size[0]} pixels and the line makes "
                f"{running.size[1]} x {running.size[0]}; restart the line with the new bundle"
            )

    def set_threshold(self, threshold: float) -> None:
        """Changes the threshold, in sigma, until another bundle is deployed."""
        with self._deploying:
            model = self._slot.current
            model.engine.set_threshold(threshold)
            model.judge.threshold = threshold
        self._shadows.end("the threshold was changed")

    def pause(self) -> None:
        """Answers frames without inspecting them: `uninspected`, reason `dropped`."""
        self._paused.set()

    def resume(self) -> None:
        """Resumes inspection."""
        self._paused.clear()

    def trigger(self, camera: str, part: str | None = None) -> None:
        """Asks a camera for a picture, whose verdict will carry the part's id.

        Raises:
            TaktlineError: the line has no such camera, or the camera takes no triggers.
        """
        for source in self._sources:
            if source.camera == camera:
                source.trigger(part)
                return
        names = ", ".join(source.camera for source in self._sources)
        raise ConfigError(f"the line has no camera '{camera}'; it has {names}")
