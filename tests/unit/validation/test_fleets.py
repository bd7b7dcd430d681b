"""What a strategy may say of the devices that its actions run on."""

import pytest
from support.strategies import actions, checked, command, only, problems

FAN_OUT = command("a", "devices: [edge-1, edge-2]")


@pytest.mark.parametrize(
    "written",
    [
        "devices: [edge-1, edge-2]",
        "devices: all",
        "devices: {labels: {zone: eu, tier: web}}",
        "devices: all, max_unavailable: 25%",
        "devices: all, max_unavailable: 2, agent: coder, capabilities: [gpu, zone=eu]",
        "capabilities: [docker, 'cuda:12', os/linux, zone=eu]",
        "device: edge-1, capabilities: [docker]",
    ],
)
def test_what_can_be_said(written: str) -> None:
    """All of it together with the rest of the format."""
    assert checked(actions(command("a", written))).problems == ()


@pytest.mark.parametrize(
    ("written", "path", "said", "remedy"),
    [
        ("device: a, devices: [b]", "devices", "`device` and `devices` exclude each other", "keep `device` for one"),
        ("devices: [a, b, a]", "devices[2]", "'a' stands there twice", "name it once"),
        ("devices: []", "devices", "there is no device", "write `all`"),
        ("devices: edge-1", "devices", "must be a list of device ids, `all`, or {labels: {...}}, not 'edge-1'", ""),
        ("devices: [a b]", "devices[0]", "'a b' is not allowed here", "letters, digits"),
        ("devices: {labels: {zone: eu}, label: x}", "devices.label", "unknown key 'label'", "did you mean 'labels'?"),
        ("devices: {labels: {}}", "devices.labels", "there is no label", "such as {zone: eu}"),
        ("devices: {labels: {zone: e u}}", "devices.labels.zone", "'e u' is no value of a label", "letters, digits"),
        ("devices: {labels: {zone: 5}}", "devices.labels.zone", "must be text, not the number 5", "put it in quotes"),
        ("max_unavailable: 2", "max_unavailable", "`max_unavailable` goes with `devices`", "write `devices`"),
        ("devices: all, max_unavailable: 0", "max_unavailable", "at least 1", ""),
        ("devices: all, max_unavailable: 0%", "max_unavailable", "0% of the devices is none", "write 1% to 100%"),
        ("devices: all, max_unavailable: 101%", "max_unavailable", "101% of the devices is more than all", "100%"),
        ("devices: all, max_unavailable: a few", "max_unavailable", "'a few' is not allowed here", "such as 25%"),
        ("devices: all, max_unavailable: 1.5", "max_unavailable", "", ""),
        ("capabilities: [a b]", "capabilities[0]", "'a b' is no capability", "such as gpu, or zone=eu for a label"),
        ("capabilities: [zone=]", "capabilities[0]", "'zone=' is no capability", ""),
        ("capabilities: [gpu, gpu]", "capabilities[1]", "'gpu' stands there twice", ""),
        ("capabilities: gpu", "capabilities", "must be a list, not 'gpu'", ""),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem(written: str, path: str, said: str, remedy: str) -> None:
    """With its place, and what would be right."""
    problem = only(actions(command("a", written)))
    assert problem.path == f"actions[0].{path}"
    assert said in problem.message
    assert remedy in problem.remedy


def test_an_action_that_says_where_it_runs_takes_over_no_other_place() -> None:
    """One `device` among fan-outs, one fan-out among actions of one device; both in `defaults` is a mistake there."""
    fan_outs = "defaults: {devices: all, max_unavailable: 1}\n"
    assert checked(actions(command("a"), command("b", "device: edge-1")) + fan_outs).problems == ()
    assert checked(actions(command("a", "devices: [x]")) + "defaults: {device: edge-1}\n").problems == ()
    assert only(actions(command("a")) + "defaults: {device: x, devices: all}\n").path == "defaults.devices"
    own = only(actions(command("a", "device: x, max_unavailable: 1")) + fan_outs)
    assert own.path == "actions[0].max_unavailable"


@pytest.mark.parametrize(
    ("named", "said", "remedy"),
    [
        ("a@edge-3", "'a' does not run on 'edge-3'", "did you mean 'edge-"),
        ("b@edge-1", "'b' runs on one device, so there is no 'b@edge-1'", "write b"),
        ("c@edge-1", "there is no action 'c'", ""),
        ("a@", "'a@' is not allowed here", "such as restart@edge-1"),
    ],
)
def test_an_instance_that_is_taken_back_has_to_be_there(named: str, said: str, remedy: str) -> None:
    """As far as that can be known beforehand."""
    text = actions(FAN_OUT, command("b")) + f'rollback: {{mechanism: partial, actions: ["{named}"]}}\n'
    found = problems(text)[0]
    assert said in found.message
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("a", "'b' is kept, and needs 'a', which is taken back"),
        ("a, b", ""),
        ("b", ""),
        ("b@edge-1", ""),
        ("a@edge-1", "'b@edge-1' is kept, and needs 'a@edge-1', which is taken back"),
        ("a@edge-1, b@edge-1", ""),
        ("a@edge-1, b@edge-2", "'b@edge-1' is kept, and needs 'a@edge-1', which is taken back"),
        ("c@edge-1", "'d' is kept, and needs 'c@edge-1', which is taken back"),
        ("c@edge-1, d", ""),
    ],
)
def test_what_is_kept_may_not_need_what_is_taken_back(named: str, said: str) -> None:
    """An instance needs the one of its own device; an action that runs once needs all of them."""
    text = actions(
        FAN_OUT,
        command("b", "devices: all, needs: [a]"),
        command("c", "devices: all"),
        command("d", "needs: [c]"),
    )
    found = checked(text + f"rollback: {{mechanism: partial, actions: [{named}]}}\n").problems
    assert [one.message for one in found] == ([said] if said else [])


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("actions.a.result['edge-1'].exit_code == 0", ""),
        ("actions.a.result.all(d, actions.a.result[d].exit_code == 0)", ""),
        ("actions.a.status == 'succeeded'", ""),
        ("actions.a.result['edge-1'].exit_code == 'x'", "'==' cannot be applied to int"),
        ("actions.a.result['edge-3'].exit_code == 0", "actions.a.result has no 'edge-3'"),
        ("actions.a.result.exit_code == 0", "actions.a.result has no 'exit_code'"),
        ("actions.b.result['edge-9'].exit_code == 0", ""),
        ("actions.b.result['edge-9'].exit == 0", "actions.b.result.edge-9 has no 'exit'"),
        ("actions['a@edge-1'].status == 'succeeded'", "there is no action 'a@edge-1'"),
    ],
)
def test_the_result_of_a_fan_out_is_read_by_device(condition: str, said: str) -> None:
    """Checked before the run: the devices where they are named, what each gives in any case."""
    text = actions(FAN_OUT, command("b", "devices: all")) + f'success_criteria: ["{condition}"]\n'
    found = [one.message for one in checked(text).problems]
    assert [one.partition(": ")[2] for one in found] == ([] if not said else [found[0].partition(": ")[2]])
    assert said in "".join(found)


def test_in_its_own_expressions_the_result_is_that_of_one_device() -> None:
    """In `success`, and in its compensation."""
    way_back = 'compensate: {uses: command, with: {run: "x ${{ result.exit_code }} ${{ device.id }}"}}'
    one = f"id: a, uses: command, with: {{run: x}}, devices: all, success: result.exit_code == 0, {way_back}"
    assert checked(actions(one)).problems == ()
