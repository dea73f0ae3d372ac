"""Configurations as Python values, written in libconfig's syntax."""


def write_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{ " + write(value) + " }"
    open_mark, close_mark = ("( ", " )") if any(isinstance(one, dict) for one in value) else ("[ ", " ]")
    return open_mark + ", ".join(write_value(one) for one in value) + close_mark


def write(settings):
    return " ".join(f"{name} = {write_value(value)};" for name, value in settings.items())


def group(name, addresses, **settings):
    """A group of backends; each address may also be a dictionary with more settings."""
    backends = [one if isinstance(one, dict) else {"address": one} for one in addresses]
    return {"name": name, **settings, "backends": backends}


def service(old, new=(), name="web", listen=("127.0.0.1:0",), group_settings=None, **settings):
    """A service with the group old and, where addresses are given for it, the group new."""
    groups = [group("old", old, **(group_settings or {}))]
    if new:
        groups.append(group("new", new, **(group_settings or {})))
    return {"name": name, "listen": list(listen), **settings, "groups": groups}


def steps(*pairs, **settings):
    """A migration plan: steps(("25%", "1h"), ("100%", "1h"), drain="5s")."""
    plan = {"steps": [{"share": share, "hold": hold} for share, hold in pairs]}
    if "drain" in settings:
        plan["drain"] = {"timeout": settings.pop("drain")}
    return {**plan, **settings}
