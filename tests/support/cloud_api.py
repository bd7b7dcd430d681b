"""The rules of the fake cloud: what each call does to a world, and what it refuses.

A world is JSON: kinds of resources, then their names. A resource on its way from one state to another has ``pending``:
how often it must still be looked at, and what it then becomes; None: it goes.
"""

import re
from collections.abc import Callable
from typing import Any

Item = dict[str, Any]


class Refused(Exception):
    """The call is refused: HTTP status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


Route = Callable[["Api", Item, str], Any]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, path: str) -> Callable[[Route], Route]:
    """Registers a call; it is given the API, its body with the query, and the name in the path."""

    def register(function: Route) -> Route:
        ROUTES.append((method, re.compile(path.replace("{}", r"([\w.-]+)")), function))
        return function

    return register


class Api:
    """One world, and the calls that can be made to it."""

    def __init__(self, data: Item) -> None:
        self.data = data
        self._made = 0

    def call(self, method: str, path: str, body: Item) -> Any:
        """Carry out one call; the answer is JSON."""
        for verb, pattern, function in ROUTES:
            if verb == method and (found := pattern.fullmatch(path)):
                return function(self, body, next(iter(found.groups()), ""))
        raise Refused(404, f"no such call: {method} {path}")

    def new(self, kind: str, item: Item) -> Item:
        self._made += 1
        item["id"] = f"{kind[:4]}-{self._made:04}"
        self.data[kind][item["id"]] = item
        return item

    def look(self, kind: str, name: str) -> Item:
        """A resource; to look at it brings it further."""
        if name not in self.data[kind]:
            raise Refused(404, f"no {name} among {kind}")
        item: Item = self.data[kind][name]
        if "pending" in item:
            item["pending"]["polls"] -= 1
            if item["pending"]["polls"] <= 0:
                to = item.pop("pending")["to"]
                if to is None:
                    del self.data[kind][name]
                    raise Refused(404, f"{name} is gone from {kind}")
                item.update(to)
        return item

    def steady(self, kind: str, name: str) -> Item:
        """A resource that is not on its way to another state: it may be changed."""
        item = self.look(kind, name)
        if "pending" in item:
            raise Refused(503, f"{name} is {item['state']}: try again")
        return item

    def there(self, kind: str, name: str) -> Item | None:
        """The same; None: there is none, or it has just gone."""
        try:
            return self.steady(kind, name)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def become(self, item: Item, state: str, /, polls: int = 2, **to: Any) -> Item:
        item |= {"state": state, "pending": {"polls": polls, "to": to or None}}
        return item


def need(condition: bool, why: str) -> None:
    """Refuse what does not fit the state of the world."""
    if not condition:
        raise Refused(409, why)


# -- instances, volumes, snapshots ------------------------------------------------------------------------------------


@route("PUT", "/instances/{}/state")
def set_state(api: Api, body: Item, name: str) -> Item:
    instance = api.steady("instances", name)
    if instance["state"] == body["state"]:
        return instance
    if body["state"] == "stopped":
        return api.become(instance, "stopping", state="stopped")
    root = volume_at(api, name, instance["root_device"])
    need(root is not None, f"{name} has no volume at {instance['root_device']}")
    return api.become(instance, "starting", state="running")


def volume_at(api: Api, instance: str, device: str) -> Item | None:
    """The volume in a slot of an instance; one that comes or goes refuses every call."""
    for name, volume in list(api.data["volumes"].items()):
        if (volume["instance"], volume["device"]) == (instance, device):
            found = api.steady("volumes", name)
            if found["instance"] == instance:
                return found
    return None


@route("PUT", "/volumes/{}/attachment")
def attach(api: Api, body: Item, name: str) -> Item:
    volume, instance = api.steady("volumes", name), api.steady("instances", body["instance"])
    if volume["instance"] == instance["id"]:
        return volume
    need(volume["instance"] is None, f"{name} is attached to {volume['instance']}")
    need(instance["state"] == "stopped", f"{instance['id']} is {instance['state']}")
    need(volume_at(api, instance["id"], body["device"]) is None, f"{body['device']} is taken")
    volume |= {"instance": instance["id"], "device": body["device"]}
    return api.become(volume, "attaching", state="in-use")


@route("DELETE", "/volumes/{}/attachment")
def detach(api: Api, body: Item, name: str) -> Item:
    volume = api.steady("volumes", name)
    if volume["instance"] is None:
        return volume
    instance = api.steady("instances", volume["instance"])
    need(instance["state"] == "stopped", f"{instance['id']} is {instance['state']}")
    return api.become(volume, "detaching", state="available", instance=None, device=None)


@route("POST", "/snapshots")
def snapshot(api: Api, body: Item, _: str) -> Item:
    volume = api.steady("volumes", body["volume"])
    made = {"volume": volume["id"], "key": volume["key"], "tag": body.get("tag"), "size_gb": volume["size_gb"]}
    return api.become(api.new("snapshots", made), "pending", state="completed")


@route("POST", "/snapshots/{}/copies")
def copy_snapshot(api: Api, body: Item, name: str) -> Item:
    source = api.steady("snapshots", name)
    need(body["key"] in api.data["keys"], f"no key {body['key']}")
    made = {"volume": source["volume"], "key": body["key"], "tag": body.get("tag"), "size_gb": source["size_gb"]}
    return api.become(api.new("snapshots", made), "pending", state="completed")


@route("POST", "/volumes")
def create_volume(api: Api, body: Item, _: str) -> Item:
    source = api.steady("snapshots", body["snapshot"])
    made = {"snapshot": source["id"], "tag": body.get("tag"), "instance": None, "device": None}
    made |= {"key": source["key"], "size_gb": source["size_gb"]}
    return api.become(api.new("volumes", made), "creating", state="available")


@route("DELETE", "/snapshots/{}")
def delete_snapshot(api: Api, _: Item, name: str) -> Item:
    api.steady("snapshots", name)
    users = [volume["id"] for volume in api.data["volumes"].values() if volume.get("snapshot") == name]
    need(not users, f"{name} is in use by {users}")
    return dict(api.data["snapshots"].pop(name))


@route("DELETE", "/volumes/{}")
def delete_volume(api: Api, _: Item, name: str) -> Item:
    volume = api.steady("volumes", name)
    need(volume["instance"] is None, f"{name} is attached to {volume['instance']}")
    return dict(api.data["volumes"].pop(name))


@route("DELETE", "/(snapshots|volumes)")
def delete_tagged(api: Api, body: Item, kind: str) -> list[Item]:
    delete = {"snapshots": delete_snapshot, "volumes": delete_volume}[kind]
    names = [name for name, item in api.data[kind].items() if item.get("tag") == body["tag"]]
    return [delete(api, {}, name) for name in names]


# -- servers behind a load balancer -----------------------------------------------------------------------------------


@route("POST", "/servers/{}/deployments")
@route("PUT", "/servers/{}/version")
def deploy(api: Api, body: Item, name: str) -> Item:
    server = api.steady("servers", name)
    if body["version"] not in api.data["releases"]:
        raise Refused(404, f"no release {body['version']}")
    if server["version"] == body["version"]:
        return server
    need(api.there("targets", name) is None, f"{name} is in service")
    return api.become(server, "deploying", state="ready", version=body["version"])


@route("GET", "/servers/{}/health")
def health(api: Api, _: Item, name: str) -> Item:
    server = api.steady("servers", name)
    if not api.data["releases"][server["version"]]["works"]:
        raise Refused(503, f"{name} does not work with {server['version']}")
    return {"healthy": True, "version": server["version"]}


@route("PUT", "/targets/{}")
def register(api: Api, _: Item, name: str) -> Item:
    server = api.steady("servers", name)
    if target := api.there("targets", name):
        return target
    need(api.data["releases"][server["version"]]["works"], f"{name} is not healthy")
    api.data["targets"][name] = {"id": name}
    return api.become(api.data["targets"][name], "joining", state="in-service")


@route("DELETE", "/targets/{}")
def deregister(api: Api, _: Item, name: str) -> Item:
    if name not in api.data["servers"]:
        raise Refused(404, f"no server {name}")
    target = api.there("targets", name)
    if target is None:
        return {"id": name, "state": "unused"}
    left = [one for one in api.data["targets"].values() if one["id"] != name and one["state"] == "in-service"]
    need(len(left) >= api.data["balancer"]["web"]["at_least"], f"without {name} too few would serve")
    return api.become(target, "draining")


# -- a database and the name of its writer ----------------------------------------------------------------------------


def followers(api: Api, name: str) -> list[Item]:
    return [node for node in api.data["nodes"].values() if node["upstream"] == name]


@route("GET", "/nodes/{}")
def node_of(api: Api, _: Item, name: str) -> Item:
    """A replica catches up while nothing is written."""
    node = api.look("nodes", name)
    if node["lag"] and api.data["nodes"][node["upstream"]]["read_only"]:
        node["lag"] -= 1
    return node


@route("PUT", "/nodes/{}/read-only")
def set_read_only(api: Api, body: Item, name: str) -> Item:
    node = api.look("nodes", name)
    if node["read_only"] == body["on"]:
        return node
    if not body["on"]:
        others = [one["id"] for one in api.data["nodes"].values() if one["role"] == "primary" and one["id"] != name]
        need(node["role"] == "primary", f"{name} is a replica")
        need(not others, f"{others} would be a second primary")
        for follower in followers(api, name):
            follower["lag"] = follower["usual_lag"]
    node["read_only"] = body["on"]
    return node


@route("POST", "/nodes/{}/promotion")
@route("PUT", "/nodes/{}/promotion")
def promote(api: Api, _: Item, name: str) -> Item:
    node = api.look("nodes", name)
    if node["role"] == "primary":
        return node
    need(api.data["nodes"][node["upstream"]]["read_only"], f"{node['upstream']} is still written to")
    need(node["lag"] == 0, f"{name} lags behind by {node['lag']}")
    node |= {"role": "primary", "upstream": None, "read_only": True}
    return node


@route("PUT", "/nodes/{}/upstream")
def follow(api: Api, body: Item, name: str) -> Item:
    node, upstream = api.look("nodes", name), api.look("nodes", body["node"])
    if node["upstream"] == upstream["id"]:
        return node
    need(upstream["role"] == "primary", f"{upstream['id']} is no primary")
    need(node["read_only"], f"{name} is written to")
    need(not followers(api, name), f"others follow {name}")
    need(all(record["target"] != name for record in api.data["dns"].values()), f"the writer's name leads to {name}")
    lag = 0 if upstream["read_only"] else node["usual_lag"]
    node |= {"role": "replica", "upstream": upstream["id"], "lag": lag}
    return node


@route("PUT", "/dns/{}")
def set_record(api: Api, body: Item, name: str) -> Item:
    need(api.look("nodes", body["target"])["role"] == "primary", f"{body['target']} is no primary")
    api.look("dns", name)["target"] = body["target"]
    return api.look("dns", name)


for _kind in ("instances", "volumes", "snapshots", "servers", "targets", "dns"):
    ROUTES.append(("GET", re.compile(f"/{_kind}/([\\w.-]+)"), lambda api, _, name, kind=_kind: api.look(kind, name)))
