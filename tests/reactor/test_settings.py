"""`[tool.reactor]`: what is taken, and what is said of what is not."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.launch import NAME, Application, Launch
from reactor.settings import BadSettings, Package, Settings, Target, parse

ENTRY = '[tool.reactor]\nentry = "blinky.main:main"\n'

WRONG = [
    # text, line, what the message must hold
    ("x = [", 1, "not TOML"),
    ("a = 1\nb = = 2\n", 2, "not TOML"),
    ("a = 1\n\n\n[tool", 4, "not TOML"),
    ("", None, "has no [tool.reactor]"),
    ("[tool]\nruff = 1\n", None, "has no [tool.reactor]"),
    ("tool = 3\n", None, "has no [tool.reactor]"),
    ("[tool]\nreactor = 3\n", None, "not a table"),
    ("[project]\nname = 'x'\n\n[tool.reactor]\nreload = 'auto'\n", 4, 'entry = "package.module:callable"'),
    (ENTRY + "entrry = 'a'\n", 3, "did you mean 'entry'?"),
    (ENTRY + "on-failure = 'hold'\n", 3, "did you mean 'on_failure'?"),
    (ENTRY + "zzz = 1\n", 3, "known: entry, env"),
    ("[tool.reactor]\nentry = 3\n", 2, "expected 'package.module' or"),
    ("[tool.reactor]\nentry = 'src/main.py'\n", 2, "expected 'package.module' or"),
    ("[tool.reactor]\nentry = 'main.py'\n", 2, "leave '.py' off"),
    ("[tool.reactor]\nentry = ''\n", 2, "expected"),
    ("[tool.reactor]\nentry = 'a:b:c'\n", 2, "expected"),
    (ENTRY + "include = 'src/**'\n", 3, "expected a list of strings"),
    (ENTRY + "include = []\n", 3, 'such as "src/**"'),
    (ENTRY + "include = ['./src']\n", 3, "patterns start at the project's folder"),
    (ENTRY + "exclude = ['../x']\n", 3, "patterns start at the project's folder"),
    (ENTRY + "exclude = ['a', '!']\n", 3, "is not a pattern"),
    (ENTRY + "exclude = ['# no']\n", 3, "matches nothing"),
    (ENTRY + "depends = [3]\n", 3, "expected a list of strings"),
    (ENTRY + "depends = ['']\n", 3, "expected a list of strings"),
    (ENTRY + "reload = 'never'\n", 3, "'auto' or 'patch' or 'restart'"),
    (ENTRY + "on_failure = true\n", 3, "'hold' or 'rollback'"),
    (ENTRY + "safe = 'blinky.main'\n", 3, "expected 'package.module:callable'"),
    (ENTRY + "safe_s = 0\n", 3, "expected seconds, 0.1 to 60"),
    (ENTRY + "give = 'blinky'\n", 3, "expected 'package.module:callable'"),
    (ENTRY + "assets = 'ignore'\n", 3, "expected 'restart' or 'keep', or 'package.module:callable'"),
    (ENTRY + "handover_s = 61\n", 3, "expected seconds, 0.1 to 60"),
    ("[tool.reactor]\nentry = 'app'\ntake = 'app:take'\n", 3, "in the module that is run as a script, 'app'"),
    (ENTRY + "ready = 'soon'\n", 3, "'settle' or 'notify'"),
    (ENTRY + "handler = 'blinky.main'\n", 3, "expected 'package.module:callable'"),
    (ENTRY + "deaths = 0\n", 3, "expected a whole number, 1 to 1000"),
    (ENTRY + "deaths = 2.5\n", 3, "expected a whole number"),
    (ENTRY + "memory_mb = -1\n", 3, "expected a whole number, 0 to 1048576"),
    (ENTRY + "processes = true\n", 3, "expected a whole number"),
    (ENTRY + "init = true\n", 3, "unknown key 'init'"),
    (ENTRY + "after = 'net'\n", 3, "expected a list of strings"),
    (ENTRY + "after = ['net']\n", 3, "is to start after 'net', which is no application"),
    (ENTRY + "after = ['folder']\n", 3, "would wait for itself"),
    (
        f"{ENTRY}after = ['net']\n[tool.reactor.applications.net]\nentry = 'n'\nafter = ['folder']\n",
        3,
        "would wait for itself",
    ),
    (
        f"{ENTRY}[tool.reactor.applications.net]\nentry = 'n'\ninit = true\nafter = ['folder']\n",
        6,
        "would wait for itself: ",
    ),
    (ENTRY + "settle_s = '1'\n", 3, "expected seconds, 0 to 3600"),
    (ENTRY + "settle_s = true\n", 3, "expected seconds"),
    (ENTRY + "settle_s = nan\n", 3, "expected seconds"),
    (ENTRY + "grace_s = 61\n", 3, "expected seconds, 0 to 60"),
    (ENTRY + "grace_s = -1\n", 3, "expected seconds, 0 to 60"),
    (ENTRY + "env = { A = 17 }\n", 3, 'write A = "17"'),
    (ENTRY + "env = ['A']\n", 3, "a table of strings"),
    (ENTRY + "env = { 'A=B' = 'x' }\n", 3, "names of environment variables"),
    (ENTRY + "[tool.reactor.env]\nA = 17\n", 3, 'write A = "17"'),
    (ENTRY + "applications = 3\n", 3, "expected a table"),
    (ENTRY + "[tool.reactor.applications]\nnet = 3\n", 4, "expected a table"),
    (ENTRY + "[tool.reactor.applications.net]\ninit = true\n", 3, "[tool.reactor.applications.net] has no 'entry'"),
    (ENTRY + "[tool.reactor.applications.net]\nentry = 'n'\ninit = 1\n", 5, "expected true or false"),
    (ENTRY + "[tool.reactor.applications.net]\nentry = 'n'\nreload = 'auto'\n", 5, "unknown key 'reload'"),
    (ENTRY + "[tool.reactor.applications.Net]\nentry = 'n'\n", 3, "not an application's name"),
    (ENTRY + "[tool.reactor.applications.folder]\nentry = 'n'\n", 3, "the name of the project itself"),
    (ENTRY + "[tool.reactor.targets.porch]\naddress = ''\n", 4, "'host' or 'host:port'"),
    (ENTRY + "[tool.reactor.targets.porch]\nadress = 'pi'\n", 4, "did you mean 'address'?"),
    (ENTRY + "[tool.reactor.targets.porch]\nrequirements = 'gpiozero'\n", 4, "expected a list of strings"),
    (ENTRY + "[tool.reactor.targets.porch]\nconsole = ''\n", 4, "a device such as '/dev/ttyUSB0'"),
    (ENTRY + "[tool.reactor.targets.porch]\nconsole = 'spy://x'\n", 4, "expected 'socket://host:port' or"),
    (ENTRY + "[tool.reactor.targets.porch]\nbaud = '9600'\n", 4, "expected bits a second"),
    (ENTRY + "[tool.reactor.targets.host]\naddress = 'pi'\n", 4, "the embedded target has no address"),
    (ENTRY + "targets.porch.entry = 3\n", 3, "[tool.reactor.targets.porch]"),
    (ENTRY + "targets = { porch = { entry = 3 } }\n", 3, "[tool.reactor.targets.porch]"),
]


@pytest.mark.parametrize(("text", "line", "holds"), WRONG)
def test_a_wrong_setting_is_one_line_with_file_key_line_and_what_was_expected(
    text: str, line: int | None, holds: str
) -> None:
    with pytest.raises(BadSettings) as caught:
        parse(text, "pyproject.toml", "folder")
    message = str(caught.value)
    assert holds in message
    assert "\n" not in message
    assert message.startswith(f"pyproject.toml:{line}: " if line else "pyproject.toml: ")
    assert caught.value.code == "bad-settings"
    assert caught.value.fields.get("file") == "pyproject.toml"
    assert caught.value.fields.get("line") == line


FULL = """
[project]
name = "Blinky Two!"

[tool.reactor]
entry = "blinky.main:main"
include = ["src/**", "!*.bak", "assets/**"]
exclude = ["*.tmp"]
depends = ["../shared-drivers"]
reload = "restart"
on_failure = "rollback"
safe = "blinky.main:outputs_off"
safe_s = 2.5
give = "blinky.main:give"
take = "blinky.state:take"
handover_s = 0.5
assets = "blinky.main:changed"
assets_s = 3
handler = "blinky.main:on_failure"
handler_s = 1
display = "blinky.main:show"
deaths = 3
window_s = 30
after = ["net"]
memory_mb = 64
processes = 20
settle_s = 2
grace_s = 1.5
env = { MODE = "day", LED_PIN = "1" }

[tool.reactor.applications.web]
entry = "web"

[tool.reactor.applications.net]
entry = "netkeeper:main"
init = true
env = { MODE = "net" }
settle_s = 5
ready = "notify"
ready_s = 20

[tool.reactor.targets.host]
entry = "blinky.fake:main"
safe = "blinky.fake:outputs_off"
give = "blinky.fake:give"
assets = "keep"

[tool.reactor.targets.porch]
address = "pi-zero.local"
env = { LED_PIN = "17" }
requirements = ["gpiozero"]
console = "/dev/ttyUSB0"
baud = 921600
"""


def test_every_setting_is_read() -> None:
    settings = parse(FULL, "pyproject.toml")
    assert (settings.main.name, settings.main.entry) == ("blinky-two", "blinky.main:main")
    assert settings.include == ("src/**", "!*.bak", "assets/**")
    assert settings.exclude == ("*.tmp",)
    assert settings.depends == ("../shared-drivers",)
    assert (settings.reload, settings.on_failure) == ("restart", "rollback")
    assert (settings.handler, settings.handler_s) == ("blinky.main:on_failure", 1.0)
    assert (settings.deaths, settings.window_s) == (3, 30.0)
    assert settings.display == settings.launch("porch", ()).display == "blinky.main:show"
    assert (settings.main.settle_s, settings.main.grace_s) == (2.0, 1.5)
    assert (settings.main.safe, settings.main.safe_s) == ("blinky.main:outputs_off", 2.5)
    assert (settings.main.give, settings.main.take) == ("blinky.main:give", "blinky.state:take")
    assert settings.main.handover_s == 0.5
    assert (settings.main.assets, settings.main.assets_s) == ("blinky.main:changed", 3.0)
    assert (settings.main.memory_mb, settings.main.processes) == (64, 20)
    assert settings.main.after == ("net",)
    assert (settings.others[1].ready, settings.others[1].ready_s) == ("notify", 20.0)
    assert settings.targets["porch"] == Target(
        "pi-zero.local", env={"LED_PIN": "17"}, requirements=("gpiozero",), console="/dev/ttyUSB0", baud=921600
    )


def test_little_is_needed_and_the_rest_has_defaults() -> None:
    settings = parse(ENTRY, "pyproject.toml", "My Folder")
    assert settings == Settings(Application("my-folder", "blinky.main:main"), package=Package("My Folder", ()))
    launch = settings.launch("local", (".",))
    assert (launch.requirements, launch.system_packages) == ((), True)


def test_init_applications_start_first_and_a_profile_changes_what_runs() -> None:
    settings = parse(FULL, "pyproject.toml")
    porch = settings.launch("porch", ("src", "."))
    assert [(app.name, app.entry, app.init) for app in porch.applications] == [
        ("net", "netkeeper:main", True),
        ("blinky-two", "blinky.main:main", False),
        ("web", "web", False),
    ]
    assert [dict(app.env) for app in porch.applications] == [
        {"MODE": "net", "LED_PIN": "17"},
        {"MODE": "day", "LED_PIN": "17"},
        {"LED_PIN": "17"},
    ]
    assert porch.path == ("src", ".")
    local = settings.launch("local", (".",)).applications[1]
    assert (local.entry, local.safe) == ("blinky.fake:main", "blinky.fake:outputs_off")
    assert (local.give, local.take, local.assets) == ("blinky.fake:give", "blinky.state:take", "keep")
    assert settings.launch("host", (".",)) == settings.launch("local", (".",))
    assert settings.launch("10.0.0.7:4000", (".",)).applications[1].env == {"MODE": "day", "LED_PIN": "1"}


def test_what_is_launched_is_what_the_target_reads() -> None:
    for target in ("local", "porch", "other"):
        launch = parse(FULL, "pyproject.toml").launch(target, ("src", ".", ".reactor/depends/shared-drivers"))
        assert Launch.decode(launch.encode()) == launch


PACKAGED = '[project]\nname = "app"\ndependencies = ["numpy>=2", "Shared_Drivers", "more; os_name == \'posix\'"]\n'
PORCH = '[tool.reactor.targets.porch]\nrequirements = ["gpiozero[extra]>=2"]\n'
SIBLINGS = (Package("shared-drivers", ("smbus2",)), Package("unnamed", ()))


def required(text: str, target: str = "porch") -> tuple[tuple[str, ...], bool]:
    launch = parse(text, "pyproject.toml").launch(target, (), SIBLINGS)
    return launch.requirements, launch.system_packages


def test_what_is_required_is_the_projects_own_dependencies_its_siblings_and_a_targets_more() -> None:
    own = ("numpy>=2", "more; os_name == 'posix'", "smbus2")  # a sibling is code
    assert required(PACKAGED + ENTRY + PORCH) == ((*own, "gpiozero[extra]>=2"), False)
    assert required(PACKAGED + ENTRY + PORCH, "local") == (own, False)
    instead = ENTRY + 'requirements = ["attrs"]\n' + PORCH
    assert required(PACKAGED + instead) == (("attrs", "gpiozero[extra]>=2"), False)
    assert required(PACKAGED + ENTRY + "requirements = []\n") == ((), True)


def test_what_the_device_has_can_be_used_where_that_is_said_for_all_targets_or_for_one() -> None:
    assert required(PACKAGED + ENTRY + "system_packages = true\n")[1]
    assert required(PACKAGED + ENTRY + PORCH + "system_packages = true\n")[1]
    assert not required(PACKAGED + ENTRY + PORCH + "system_packages = true\n", "local")[1]
    assert not required(ENTRY + "system_packages = false\nrequirements = []\n")[1]


@pytest.mark.parametrize("text", ["-r more.txt", "--index-url=http://x", "./lib", "", " ", "a b", "git+https://x/y"])
def test_a_requirement_begins_with_a_name(text: str) -> None:
    with pytest.raises(BadSettings) as caught:
        parse(ENTRY + f"requirements = [{text!r}]\n", "pyproject.toml")
    assert "'requirements' in [tool.reactor]" in str(caught.value)


@given(st.text(max_size=80))
def test_any_folder_or_project_name_becomes_a_legal_application_name(name: str) -> None:
    assert NAME.fullmatch(parse(ENTRY, "pyproject.toml", name).main.name)


def outcome(text: str) -> Settings | BadSettings:
    try:
        return parse(text, "pyproject.toml")
    except BadSettings as fault:
        return fault


@given(st.text(max_size=200))
def test_any_text_is_settings_or_one_line_on_what_is_wrong(text: str) -> None:
    assert "\n" not in str(outcome(text))


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


KEYS = ["include", "depends", "env", "reload", "settle_s", "deaths", "after", "applications", "targets", "entry"]


@given(st.sampled_from(KEYS), VALUES)
def test_any_value_of_any_key_is_settings_or_one_line_on_what_is_wrong(key: str, value: object) -> None:
    rest = "" if key == "entry" else 'entry = "a"\n'
    text = f"[tool.reactor]\n{rest}{key} = {_toml(value)}\n"
    tomllib.loads(text)
    result = outcome(text)
    if isinstance(result, Settings):
        assert Launch.decode(result.launch("local", (".",)).encode()).applications
    else:
        assert "\n" not in str(result)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(max(-(2**63), min(value, 2**63 - 1)))
        case float():
            return repr(value)
        case str():
            return _text(value)
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{_text(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    raise AssertionError(value)


def _text(value: str) -> str:
    return '"' + "".join(f"\\U{ord(char):08X}" if not 0xD800 <= ord(char) < 0xE000 else "?" for char in value) + '"'


def test_the_documentation_shows_settings_that_are_taken_and_names_every_key() -> None:
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert examples
    for example in examples:
        parse(example, "docs/settings.md")
    fields = {*Settings.__dataclass_fields__, *Application.__dataclass_fields__, *Target.__dataclass_fields__}
    fields -= {"main", "name", "others", "targets", "package"}
    assert [key for key in sorted(fields) if f"`{key}`" not in text] == []
