"""PyTorch, eager: on the GPU where there is one."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from compress.engines import Inputs, Logits, Milliseconds
from compress.engines.hooks import profile_modules
from compress.environment import Device, device


class TorchEngine:
    """A model in its own precision, or in bfloat16."""

    def __init__(self, model: PreTrainedModel, *, threads: int | None = None, bf16: bool = False) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.name = "pytorch-bf16" if bf16 else "pytorch"
        self.device: Device = device()
        self._model = _place(model, self.device, torch.bfloat16 if bf16 else None)

    def run(self, inputs: Inputs) -> Logits:
        """Logits of one batch."""
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
            # Copying the logits waits for the GPU, so that a clock around this call reads all of it.
            return self._model(**tensors).logits.float().cpu().numpy()  # type: ignore[no-any-return]

    def profile(self, batches: Sequence[Inputs]) -> list[Milliseconds]:
        """What each part took, batch by batch."""
        return profile_modules(self._model, self.run, batches, device=self.device)


def _place(model: torch.nn.Module, where: Device, dtype: torch.dtype | None) -> torch.nn.Module:
    return model.to(where, dtype).eval()
