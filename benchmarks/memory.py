"""What XLM-R needs on a GPU while it trains: computed from its shapes, not measured.

python -m benchmarks.memory
python -m benchmarks.memory --gigabytes 16 --max-tokens 1024,2048
"""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table
from transformers import XLMRobertaConfig

from benchmarks.common import versions, write_result
from polystilts.training.memory import Memory, training_memory

SHAPES = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
MARK = "computed, not measured"
LONGEST = 384


def shape(name: str) -> XLMRobertaConfig:
    """XLM-R's configuration."""
    return XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, **SHAPES[name])


def rows(max_tokens: list[int]) -> list[tuple[dict[str, object], Memory]]:
    """Settings and what they need, for each shape, precision, checkpointing and size of a micro-batch."""
    found = []
    for name in SHAPES:
        for precision in ("fp32", "bf16"):
            for checkpointing in (False, True):
                for frozen in (False, True):
                    for tokens in max_tokens:
                        memory = training_memory(
                            shape(name),
                            max_tokens=tokens,
                            max_length=LONGEST,
                            precision=precision,
                            gradient_checkpointing=checkpointing,
                            frozen_embeddings=frozen,
                        )
                        settings = {
                            "model": name,
                            "precision": precision,
                            "checkpointing": checkpointing,
                            "frozen embeddings": frozen,
                            "max_tokens": tokens,
                        }
                        found.append((settings, memory))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=24, help="of the GPU, 10**9 bytes each")
    parser.add_argument("--max-tokens", default="1024,4096,8192", help="padded tokens of a micro-batch, by comma")
    arguments = parser.parse_args()
    table = Table(title=f"GB while training XLM-R, {MARK}; green fits into {arguments.gigabytes:g} GB")
    for column in ("model", "precision", "checkpointing", "frozen embeddings", "max_tokens"):
        table.add_column(column)
    for column in ("weights", "gradients", "moments", "activations", "total"):
        table.add_column(column, justify="right")
    figures: dict[str, float] = {}
    for settings, memory in rows([int(text) for text in arguments.max_tokens.split(",")]):
        parts = (memory.weights, memory.gradients, memory.moments, memory.activations, memory.total)
        style = "green" if memory.total <= arguments.gigabytes * 1e9 else "red"
        words = [{True: "yes", False: ""}.get(value, str(value)) if isinstance(value, bool) else str(value)
                 for value in settings.values()]  # fmt: skip
        table.add_row(*words, *(f"{part / 1e9:.1f}" for part in parts), style=style)
        figures[" ".join(f"{name}={value}" for name, value in settings.items())] = round(memory.total / 1e9, 2)
    Console(width=130).print(table)
    path = write_result("memory", figures, mark=MARK, unit="GB (10**9 bytes)", versions=versions(["transformers"]))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
