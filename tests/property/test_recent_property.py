"""Whatever several receivers do and whenever they die, nothing is called a duplicate of what is not durable."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from leyden.spool.recent import Begun, Recent, forget_begun

KEYS = ("a", "b")
RECEIVERS = range(3)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["begin", "commit", "fail", "die"]), st.sampled_from(RECEIVERS), st.sampled_from(KEYS)),
    st.tuples(st.sampled_from(["wait", "purge"]), st.just(0), st.just("")),
)


@given(st.lists(STEPS, max_size=40))
def test_a_duplicate_is_one_of_an_object_that_is_durable(steps: list[tuple[str, int, str]]) -> None:
    """duplicateBehavior: "ignore never answers Success" for what nobody has (DECISIONS.md 110)."""
    with tempfile.TemporaryDirectory() as folder:
        receivers = [Recent(Path(folder), 900.0) for _ in RECEIVERS]
        now_s = Path(folder).stat().st_mtime
        first_s = now_s
        begun: set[tuple[int, str]] = set()
        durable: set[str] = set()
        for act, number, key in steps:
            recent, mine = receivers[number], (number, key)
            if act == "begin" and mine not in begun:
                match recent.begin(key, now_s):
                    case Begun.FIRST:
                        begun.add(mine)
                    case Begun.KEPT:
                        assert key in durable
                    case Begun.BUSY:
                        assert any(other == key for _, other in begun), "nobody is at it: this would wait in vain"
            elif act == "commit" and mine in begun:
                durable.add(key)
                recent.keep(key, now_s)
                begun.remove(mine)
            elif act == "fail" and mine in begun:
                recent.forget(key)
                begun.remove(mine)
            elif act == "die":  # at any moment: before its commit, or after it
                begun = {each for each in begun if each[0] != number}
                forget_begun(Path(folder))
            elif act == "wait":
                now_s += 61.0
            elif act == "purge":
                recent.purge(now_s)
        if now_s - first_s < 800.0 and not any(act == "die" for act, _, _ in steps):
            for key in durable - {key for _, key in begun}:
                assert receivers[0].begin(key, now_s) is Begun.KEPT
