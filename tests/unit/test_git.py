"""git runs nothing of the directory that it is asked about. Each trap writes a file if it is run."""

from __future__ import annotations

import ast
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import DynoctlError
from infra.manifest import git as safe
from infra.manifest.git import git
from infra.manifest.secrets_file import read
from infra.model.source_change import SourceChange
from infra.slug.commit import changed_since, commit_of, origin_of
from infra.slug.contents import holding
from infra.slug.tree import scan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a config of its own, so that the config of whoever runs the tests has no effect."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path


class Repository:
    """A checkout with one commit, and a program that leaves a mark."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.top = base / "checkout"
        self.mark = base / "sprung"
        self.program = base / "trap"
        self.program.write_text(f"#!/bin/sh\necho trap >> '{self.mark}'\n")
        self.program.chmod(0o755)
        self.top.mkdir()
        self.git("init", "-q", "-b", "main")
        (self.top / "app.rb").write_text("one\n")
        (self.top / ".gitignore").write_text(".dyno/\n")
        self.commit()
        secrets = self.top / ".dyno/secrets"
        secrets.parent.mkdir()
        secrets.write_text("A=1\n")
        secrets.chmod(0o600)

    def git(self, *argv: str, at: Path | None = None, check: bool = True) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *argv], cwd=at or self.top, check=check, capture_output=True, timeout=20)

    def commit(self, at: Path | None = None) -> None:
        self.git("add", "-A", at=at)
        self.git("commit", "-q", "-m", "a commit", at=at)

    def config(self, *pairs: str, at: Path | None = None) -> None:
        for pair in pairs:
            key, _, value = pair.partition("=")
            self.git("config", key, value, at=at)

    def touched(self) -> None:
        """Make git compare the content of a file, which a changed time is enough for."""
        os.utime(self.top / "app.rb", (0, 0))

    @property
    def sprung(self) -> bool:
        return self.mark.exists()


def ask(repository: Repository) -> None:
    """Everything that dynoctl asks git: of the manifest's directory, of the source, of a directory in it."""
    for directory in (repository.top, repository.top / "vendor", repository.top / "sub"):
        if directory.is_dir():
            commit_of(directory)
            changed_since(directory, "0" * 12)
            changed_since(directory, commit_of(directory))
            origin_of(directory / "dyno.yaml", "default")
            read(directory, None)


def fsmonitor(repository: Repository) -> None:
    repository.config(f"core.fsmonitor={repository.program}")
    repository.git("update-index", "--fsmonitor", check=False)
    repository.mark.unlink(missing_ok=True)


def fsmonitor_in_an_include(repository: Repository) -> None:
    (repository.base / "more").write_text(f"[core]\n\tfsmonitor = {repository.program}\n")
    repository.config(f"include.path={repository.base / 'more'}")


def fsmonitor_of_the_worktree(repository: Repository) -> None:
    repository.config("extensions.worktreeConfig=true")
    repository.git("config", "--worktree", "core.fsmonitor", str(repository.program))


def hooks_path(repository: Repository) -> None:
    hooks = repository.top / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "reference-transaction", "pre-commit", "post-checkout"):
        (hooks / name).symlink_to(repository.program)
    repository.config("core.hooksPath=hooks")
    repository.touched()


def hook_of_the_repository(repository: Repository) -> None:
    (repository.top / ".git/hooks").mkdir(exist_ok=True)
    (repository.top / ".git/hooks/post-index-change").symlink_to(repository.program)
    repository.touched()


def clean_filter(repository: Repository) -> None:
    (repository.top / ".gitattributes").write_text("* filter=trap\n")
    repository.commit()
    repository.config(f"filter.trap.clean={repository.program}")
    repository.touched()


def required_filter(repository: Repository) -> None:
    clean_filter(repository)
    repository.config("filter.trap.required=true", f"filter.trap.smudge={repository.program}")


def filter_process(repository: Repository) -> None:
    (repository.top / ".gitattributes").write_text("* filter=trap\n")
    repository.commit()
    repository.config(f"filter.trap.process={repository.program}", "filter.trap.required=true")
    repository.touched()


def filter_named_with_a_sign(repository: Repository) -> None:
    (repository.top / ".git/info/attributes").write_text("* filter=a=b\n")
    repository.git("config", "filter.a=b.clean", str(repository.program))
    repository.touched()


def filter_in_upper_case(repository: Repository) -> None:
    (repository.top / ".gitattributes").write_text("* filter=TRAP\n")
    repository.commit()
    repository.config(f"filter.TRAP.clean={repository.program}")
    repository.touched()


def many_filters(repository: Repository) -> None:
    (repository.top / ".gitattributes").write_text("* filter=f900\n")
    repository.commit()
    with (repository.top / ".git/config").open("a") as config:
        config.writelines(f'[filter "f{number}"]\n\tclean = {repository.program}\n' for number in range(1000))
    repository.touched()


def external_diff(repository: Repository) -> None:
    repository.config(f"diff.external={repository.program}")
    (repository.top / "app.rb").write_text("two\n")


def text_conversion(repository: Repository) -> None:
    (repository.top / ".gitattributes").write_text("* diff=trap\n")
    repository.commit()
    repository.config(f"diff.trap.textconv={repository.program}", f"diff.trap.command={repository.program}")
    (repository.top / "app.rb").write_text("two\n")


def pager(repository: Repository) -> None:
    program = str(repository.program)
    repository.config(f"core.pager={program}", f"pager.status={program}", f"pager.rev-list={program}")


def alias(repository: Repository) -> None:
    names = ("status", "rev-parse", "ls-files", "rev-list", "remote")
    repository.config(*(f"alias.{name}=!{repository.program}" for name in names))


def partial_clone(repository: Repository) -> None:
    """A repository that lacks an object fetches it from its remote, which may be a command."""
    repository.config(
        "core.repositoryFormatVersion=1",
        "extensions.partialClone=origin",
        "remote.origin.promisor=true",
        f"remote.origin.url=ext::{repository.program}",
        f"remote.origin.uploadpack={repository.program}",
        f"core.sshCommand={repository.program}",
        f"core.askPass={repository.program}",
        f"credential.helper={repository.program}",
        "protocol.ext.allow=always",
        "protocol.allow=always",
    )
    for file in (repository.top / ".git/objects").glob("??/*"):
        file.unlink()


def partial_clone_of_a_directory(repository: Repository) -> None:
    partial_clone(repository)
    repository.config(f"remote.origin.url={repository.top}")


def submodule(repository: Repository) -> None:
    """git runs ``git status`` in a submodule, with the submodule's own config."""
    other = repository.base / "other"
    other.mkdir()
    repository.git("init", "-q", at=other)
    (other / "file").write_text("one\n")
    repository.commit(at=other)
    repository.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "sub")
    repository.git("config", "-f", ".gitmodules", "submodule.sub.ignore", "none")
    repository.commit()
    module = repository.top / "sub"
    repository.config(f"core.fsmonitor={repository.program}", at=module)
    repository.config("status.submoduleSummary=true", "submodule.sub.ignore=none", "diff.ignoreSubmodules=none")
    repository.mark.unlink(missing_ok=True)
    (module / "file").write_text("two\n")


def embedded(repository: Repository, *, worktree: bool) -> None:
    """A directory of the checkout that is a bare repository, as a pull request can have it."""
    vendor = repository.top / "vendor"
    (vendor / "objects").mkdir(parents=True)
    (vendor / "refs/heads").mkdir(parents=True)
    (vendor / "refs/heads/.keep").touch()
    (vendor / "HEAD").write_text("ref: refs/heads/main\n")
    tree = "\tbare = false\n\tworktree = .\n" if worktree else "\tbare = true\n"
    (vendor / "config").write_text(f"[core]\n\trepositoryformatversion = 0\n{tree}\tfsmonitor = {repository.program}\n")
    repository.commit()


def bare_repository(repository: Repository) -> None:
    embedded(repository, worktree=False)


def bare_repository_with_a_worktree(repository: Repository) -> None:
    embedded(repository, worktree=True)


TRAPS: dict[Callable[[Repository], None], tuple[tuple[str, ...], str]] = {
    fsmonitor: (("status",), ""),
    fsmonitor_in_an_include: (("status",), ""),
    fsmonitor_of_the_worktree: (("status",), ""),
    hooks_path: (("status",), ""),
    hook_of_the_repository: (("status",), ""),
    clean_filter: (("status",), ""),
    required_filter: (("describe", "--always", "--dirty"), ""),
    filter_process: (("status",), ""),
    filter_named_with_a_sign: (("status",), ""),
    filter_in_upper_case: (("status",), ""),
    many_filters: (("status",), ""),
    external_diff: (("diff",), ""),
    text_conversion: (("diff",), ""),
    pager: ((), ""),  # only on a terminal
    alias: ((), ""),
    partial_clone: (("rev-list", "--objects", "--max-parents=0", "HEAD"), ""),
    partial_clone_of_a_directory: (("rev-list", "--objects", "--max-parents=0", "HEAD"), ""),
    submodule: (("describe", "--always", "--dirty"), ""),
    bare_repository: ((), ""),
    bare_repository_with_a_worktree: (("status",), "vendor"),
}
"""Each trap, with a command of git and a directory that spring it; no command if git itself has closed it."""


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_git_runs_nothing_of_a_repository(trap: Callable[[Repository], None], home: Path) -> None:
    repository = Repository(home)
    trap(repository)
    repository.mark.unlink(missing_ok=True)
    try:
        ask(repository)
    except DynoctlError as error:
        assert "cannot determine whether git tracks" in str(error)
    assert not repository.sprung
    command, where = TRAPS[trap]
    if command:  # the trap is one: git alone, as dynoctl once ran it, springs it
        repository.git(*command, at=repository.top / where, check=False)
        assert repository.sprung, "the trap does not work"


VARIABLES = {
    "GIT_DIR": "evil/.git",
    "GIT_WORK_TREE": "evil",
    "GIT_INDEX_FILE": "evil/.git/index",
    "GIT_OBJECT_DIRECTORY": "evil/.git/objects",
    "GIT_COMMON_DIR": "evil/.git",
    "GIT_NAMESPACE": "evil",
    "GIT_CONFIG": "evil/.git/config",
    "GIT_CONFIG_PARAMETERS": "'core.fsmonitor'='{trap}'",
    "GIT_EXEC_PATH": "evil",
    "GIT_EXTERNAL_DIFF": "{trap}",
    "GIT_PAGER": "{trap}",
    "GIT_EDITOR": "{trap}",
    "GIT_ASKPASS": "{trap}",
    "GIT_SSH": "{trap}",
    "GIT_SSH_COMMAND": "{trap}",
    "GIT_PROXY_COMMAND": "{trap}",
    "GIT_TEMPLATE_DIR": "evil",
    "GIT_TRACE": "{mark}",
    "GIT_TRACE2": "{mark}",
    "GIT_TRACE2_EVENT": "{mark}",
    "GIT_TRACE_SETUP": "{mark}",
    "GIT_REDIRECT_STDOUT": "{mark}",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_of_git_change_nothing(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(home)
    evil = repository.top / "evil"
    evil.mkdir()
    repository.git("init", "-q", at=evil)
    repository.config(f"core.fsmonitor={repository.program}", at=evil)
    expected = commit_of(repository.top), origin_of(repository.top / "dyno.yaml", "default")
    text = VARIABLES[name].format(trap=repository.program, mark=repository.mark)
    monkeypatch.setenv(name, str(repository.top / text) if text.startswith("evil") else text)
    monkeypatch.chdir(repository.top)
    ask(repository)
    assert (commit_of(repository.top), origin_of(repository.top / "dyno.yaml", "default")) == expected
    assert not repository.sprung


@pytest.mark.parametrize("entry", ["", ".", "bin", "./bin"])
def test_a_relative_path_finds_no_git(entry: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty entry in PATH, a ``git`` in the pull request would be run."""
    repository = Repository(home)
    (repository.top / "bin").mkdir()
    for place in (repository.top, repository.top / "bin"):
        (place / "git").symlink_to(repository.program)
    monkeypatch.chdir(repository.top)
    monkeypatch.setenv("PATH", f"{entry}:{os.environ['PATH']}")
    ask(repository)
    assert not repository.sprung


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", [".", ".git"])
def test_a_repository_of_another_user_is_refused(what: str, home: Path) -> None:
    repository = Repository(home)
    fsmonitor(repository)
    os.chown(repository.top / what, 12345, 12345)
    assert "dubious ownership" in git(repository.top, "status").error
    assert commit_of(repository.top) == "" and origin_of(repository.top / "dyno.yaml", "x").root == ""
    with pytest.raises(DynoctlError, match="dubious ownership") as caught:
        read(repository.top, None)
    assert "safe.directory" in caught.value.hint
    assert not repository.sprung
    repository.git("config", "--global", "--add", "safe.directory", str(repository.top))
    assert commit_of(repository.top)  # the user's own word counts
    assert not repository.sprung


@pytest.mark.parametrize(
    ("config", "content"),
    [
        ("include.path=/dev/zero", ""),
        ("include.path=../pipe", ""),
        ("core.worktree=/proc/self", ""),
        ("", "[core]\n\tnot a config"),
        ("", "[include]\n\tpath = config\n"),
    ],
)
def test_a_config_that_cannot_be_used_is_an_answer(
    config: str, content: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe, "TIMEOUT", 0.2)
    repository = Repository(home)
    os.mkfifo(repository.top / "pipe")
    if config:
        repository.config(config)
    else:
        (repository.top / ".git/config").write_text(content)
    assert commit_of(repository.top) == "" or config == "core.worktree=/proc/self"
    assert git(repository.top, "status").status == 128 or config == "core.worktree=/proc/self"


def test_a_commit_is_read_without_filters_and_submodules(home: Path) -> None:
    repository = Repository(home)
    clean = commit_of(repository.top)
    assert len(clean) == 12
    repository.touched()
    assert commit_of(repository.top) == clean
    (repository.top / "app.rb").write_text("two\n")
    assert commit_of(repository.top) == f"{clean}-dirty"
    empty = home / "empty"
    empty.mkdir()
    assert commit_of(empty) == ""
    repository.git("init", "-q", at=empty)
    assert commit_of(empty) == ""


def test_the_name_of_a_file_is_no_pattern(home: Path) -> None:
    repository = Repository(home)
    assert git(repository.top, "ls-files", "--error-unmatch", "--", "*.rb").status == 1
    assert git(repository.top, "ls-files", "--error-unmatch", "--", ":(top)app.rb").status == 1
    assert git(repository.top, "ls-files", "--error-unmatch", "--", "app.rb").status == 0


def test_an_answer_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(home)
    monkeypatch.setattr(safe, "LARGEST", 3)
    assert "more than" in git(repository.top, "rev-parse", "HEAD").error


def test_git_that_hangs_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = home / "tools"
    tools.mkdir()
    program = tools / "git"
    program.write_text("#!/bin/sh\nsleep 600 & wait\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(safe, "TIMEOUT", 0.1)
    assert "timed out" in git(home, "rev-parse", "HEAD").error


def test_all_calls_of_git_go_through_one_function() -> None:
    for path in sorted((ROOT / "infra").rglob("*.py")):
        if path.name == "git.py" or "lab" in path.parts:
            continue
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert "git" not in words, f"{path} runs git"


def test_what_changed_since_a_release(home: Path) -> None:
    repository = Repository(home)
    source = repository.top / "app"
    source.mkdir()
    (source / "a.rb").write_text("1\n")
    (source / "b.rb").write_text("1\n")
    repository.commit()
    released = commit_of(source)
    assert changed_since(source, released) == SourceChange(), "nothing did"
    (source / "a.rb").write_text("2\n")
    (source / "b.rb").unlink()
    (source / "é\n.rb").write_text("1\n")
    (repository.top / "elsewhere.rb").write_text("1\n")
    repository.commit()
    files = (("M", "a.rb"), ("D", "b.rb"), ("A", "é\n.rb"))
    assert changed_since(source, released) == SourceChange(("a commit",), files)
    (source / "a.rb").write_text("3\n")
    hand = (("M", "a.rb"),)
    assert changed_since(source, released) == SourceChange(("a commit",), files, dirty=True, uncommitted=hand)
    then = f"{released}-dirty"
    found = SourceChange(("a commit",), files, dirty=True, uncommitted=hand, released_dirty=True)
    assert changed_since(source, then) == found
    for unknown in ("", "0" * 12, "-dirty", "--output=x", "HEAD"):
        assert changed_since(source, unknown) is None
    for number in range(25):
        (source / f"more-{number:02}.rb").write_text("1\n")
        repository.commit()
    found = changed_since(source, released)
    assert found is not None and (len(found.commits), found.more_commits) == (20, 6)
    assert (len(found.files), found.more_files) == (20, 8)


def test_uncommitted_changes_are_named_and_what_is_in_no_slug_is_not(home: Path) -> None:
    repository = Repository(home)
    source = repository.top / "app"
    source.mkdir()
    for name in ("a.rb", "b.rb"):
        (source / name).write_text("1\n")
    repository.commit()
    released = commit_of(source)
    for name in ("dyno.yaml", "dyno.staging.yaml", ".slugignore"):
        (source / name).write_text("1\n")
    repository.commit()
    committed = SourceChange(("a commit",))
    assert changed_since(source, released) == committed, "dyno.yaml is not in the slug"
    (repository.top / "elsewhere.rb").write_text("1\n")
    repository.commit()
    (repository.top / "elsewhere.rb").write_text("2\n")
    (source / "dyno.yaml").write_text("2\n")
    assert not commit_of(source).endswith("-dirty"), "neither is in the slug"
    assert changed_since(source, released) == committed, "all of the app is committed"
    (source / "a.rb").write_text("2\n")
    assert commit_of(source).endswith("-dirty")
    (source / "b.rb").unlink()
    (source / "é\n.rb").write_text("1\n")
    repository.git("add", "é\n.rb", at=source)
    found = changed_since(source, released)
    assert found is not None and found.dirty and not found.released_dirty
    assert sorted(found.uncommitted) == [("A", "é\n.rb"), ("D", "b.rb"), ("M", "a.rb")]
    for number in range(25):
        (source / f"more-{number:02}.rb").write_text("1\n")
    repository.git("add", ".", at=source)
    found = changed_since(source, released)
    assert found is not None and (len(found.uncommitted), found.more_uncommitted) == (20, 8)


def test_new_files_that_git_does_not_track_are_named_if_they_are_in_the_slug(home: Path) -> None:
    repository = Repository(home)
    source = repository.top / "app"
    source.mkdir()
    for name, text in (
        ("a.rb", "1\n"),
        ("notes.md", "1\n"),
        (".slugignore", "*.md\nscratch/\n"),
        (".gitignore", "log/\n"),
    ):
        (source / name).write_text(text)
    repository.commit()
    released = commit_of(source)
    (source / "a.rb").write_text("2\n")
    (source / "notes.md").write_text("2\n")
    for name in (
        "app2.rb",
        "é\n.rb",
        "lib/b.rb",
        "lib/c.rb",
        "log/x.log",
        "scratch/x",
        "todo.md",
        "docs/x.md",
        "dyno.yaml",
    ):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("1\n")
    (repository.top / "elsewhere.rb").write_text("1\n")
    holds = holding(scan(source))
    found = changed_since(source, released, holds)
    assert found is not None
    assert found.uncommitted == (("M", "a.rb"),), "notes.md is in no slug"
    assert sorted(found.untracked) == ["app2.rb", "lib/", "é\n.rb"], "log/ is ignored, and the others are in no slug"
    (source / "a.rb").write_text("1\n")
    assert commit_of(source, holds).endswith("-dirty"), "the commit has not all that is released"
    for name in ("app2.rb", "é\n.rb", "lib/b.rb", "lib/c.rb"):
        (source / name).unlink()
    holds = holding(scan(source))
    assert commit_of(source, holds) == released, "what differs is in no slug"
    assert changed_since(source, released, holds) == SourceChange()
    repository.commit()
    assert changed_since(source, released, holds) == SourceChange(("a commit",)), "and neither is what was committed"
    for number in range(25):
        (source / f"more-{number:02}.rb").write_text("1\n")
    found = changed_since(source, released, holding(scan(source)))
    assert found is not None and (len(found.untracked), found.more_untracked) == (20, 5)


def test_an_app_that_git_tracks_nothing_of(home: Path) -> None:
    repository = Repository(home)
    released = commit_of(repository.top)
    source = repository.top / "app"
    source.mkdir()
    (source / "a.rb").write_text("1\n")
    found = changed_since(source, released, holding(scan(source)))
    assert found == SourceChange(dirty=True, untracked=("a.rb",))


def test_an_app_that_git_tracks_nothing_of_and_that_is_large(home: Path) -> None:
    """Its files are more than git may say, and its new directories are not."""
    repository = Repository(home)
    released = commit_of(repository.top)
    source = repository.top / "app"
    for number in range(20):
        directory = source / "vendor" / f"{number:02}{'x' * 200}" / ("y" * 200)
        directory.mkdir(parents=True)
        for name in range(150):
            (directory / f"{name:03}{'z' * 100}.rb").touch()
    (source / "-a.rb").write_text("1\n")
    (source / "*").mkdir()
    (source / "*" / "b").write_text("1\n")
    (source / ".gitignore").write_text("c\n")
    (source / "c").write_text("1\n")
    found = changed_since(source, released, holding(scan(source)))
    assert found == SourceChange(dirty=True, untracked=("*/", "-a.rb", ".gitignore", "vendor/"))
