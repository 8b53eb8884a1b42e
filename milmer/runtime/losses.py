"""The losses of an epoch's steps, which stay on the device until somebody asks for them."""

import math

import torch
from torch import Tensor

from milmer.errors import MilmerError


class Losses:
    """The sum of losses so far, each times the rows of its step.

    ``where`` names the training in errors, and ``remedy`` says what to do.
    """

    def __init__(self, where: str, remedy: str, total: float = 0.0):
        self._where, self._remedy, self._total = where, remedy, total
        self._unread: list[tuple[int, Tensor, int]] = []

    def add(self, step: int, loss: Tensor, rows: int) -> None:
        """Note the mean loss of the ``rows`` of a step; nobody waits for it."""
        self._unread.append((step, loss.detach(), rows))

    def total(self) -> float:
        """The sum, for which the host waits. Raises :class:`MilmerError` if it is not finite."""
        unread, self._unread = self._unread, []
        losses = torch.stack([loss for _, loss, _ in unread]).tolist() if unread else []
        for (step, _, rows), loss in zip(unread, losses, strict=True):
            self._total += loss * rows
            if not math.isfinite(self._total):
                raise MilmerError(
                    f"the loss is no longer finite at step {step}",
                    where=self._where,
                    remedy=self._remedy,
                )
        return self._total
