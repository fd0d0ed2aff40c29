"""A task calls tasks: a child run, a `map` over many inputs, and a `group`.

callmesh deploy examples/task_calls_task.py
callmesh run deployed-task longest_words --pages '["the quick fox", "jumped over"]'
"""

import asyncio

import callmesh as flyte

letters = flyte.TaskEnvironment(
    name="letters",
    image=flyte.Image.from_debian_base(),
    resources=flyte.Resources(cpu=1, memory="128Mi"),
)


@letters.task
async def longest_word(page: str) -> str:
    return max(page.split(), key=len)


@letters.task
async def join(words: list[str]) -> str:
    return " ".join(words)


@letters.task
async def longest_words(pages: list[str]) -> str:
    """Map the pages, in order, then one child run for the last step."""
    words = [word async for word in flyte.map.aio(longest_word, pages)]
    return await join(words)


@letters.task
async def first_and_last(pages: list[str]) -> tuple[str, str]:
    """Two child runs at once, shown as one group."""
    with flyte.group("both ends"):
        first, last = await asyncio.gather(longest_word(pages[0]), longest_word(pages[-1]))
    return first, last


if __name__ == "__main__":
    flyte.init_from_config()
    pages = ["the quick brown fox", "jumped over", "a lazy dog"]
    for task in (longest_words, first_and_last):
        run = flyte.run(task, pages=pages)
        run.wait()
        print(run.url, run.outputs())
