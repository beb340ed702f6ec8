"""A task type of a third party: one class, announced by an entry point (see `pyproject.toml` beside it)."""

from typing import Annotated

from runner.plugin import Dynamic, Output, RunContext, RunFailed, Task


class Shout(Task):
    """Write a text in capitals."""

    type_name = "com.example.text.Shout"
    title = "Write a text in capitals."

    text: Annotated[str, Dynamic]
    times: Annotated[int, Dynamic] = 1

    def run(self, context: RunContext) -> Output:
        if self.times < 1:
            raise RunFailed(f"times must be at least 1, not {self.times}")
        context.log("INFO", f"shouting {self.times} times")
        return Output(values={"text": " ".join([self.text.upper()] * self.times)})
