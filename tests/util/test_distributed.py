"""In one process nothing is exchanged; a group is left whatever happens."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from util import distributed
from util.errors import UserError


def test_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert not distributed.launched()
    assert (distributed.rank(), distributed.world()) == (0, 1)
    x = torch.tensor([1.0, 2.0])
    assert distributed.sum_over_processes(x) is x
    assert [distributed.any_process(yes) for yes in (False, True)] == [False, True]
    assert distributed.first_known("name") == "name"
    with distributed.first_process_first():
        distributed.say("a line")
    assert capsys.readouterr().out == "a line\n"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun starts the only process of a run."""
    values = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "launched", lambda: True)


def test_a_group_is_left_after_an_exception(launched: None) -> None:
    def work() -> None:
        with distributed.joined(torch.device("cpu")) as device:
            assert device == torch.device("cpu")
            assert dist.is_initialized()
            assert distributed.sum_over_processes(torch.ones(2)).tolist() == [1, 1]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not dist.is_initialized()


def test_machines_that_do_not_reach_each_other(launched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a machine's name has the address 127.0.1.1, which on another machine is that machine itself."""

    def fail(_: str) -> None:
        raise RuntimeError("Gloo connectFullMesh failed with [pair.cc:152] timed out connecting: Connection refused")

    monkeypatch.setattr(dist, "init_process_group", fail)
    with pytest.raises(UserError, match=r"do not reach each other .* set GLOO_SOCKET_IFNAME to the network card"):
        distributed.start(torch.device("cpu"))
