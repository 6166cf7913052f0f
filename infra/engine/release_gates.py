"""What a release must pass before any dyno moves: packages, the build, the release command, a candidate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.engine.prepare import Prepared
from infra.engine.recording import Memory
from infra.errors import DynoctlError
from infra.model.events import Event, Failure, Listener, Report
from infra.model.resource import Upload
from infra.model.shell import Shell, StepFailed
from infra.plan import preconditions
from infra.remote.parallel import each
from infra.state import records


@dataclass
class Gates:
    """One apply's gates. Where one stays shut, every server is added to ``broken``, so that nothing more is begun;
    ``report`` says why. ``fail`` notes that a single server was lost."""

    prepared: Prepared
    shells: Mapping[str, Shell]
    broken: set[str]
    report: Report
    listener: Listener
    redact: Callable[[str], str]
    fail: Callable[[str, str, DynoctlError], None]
    stop: threading.Event

    def require(self) -> None:
        """After packages came: what stood in no way then, because they would bring it, must be there now."""

        def work(server: str) -> list[DynoctlError]:
            seen = self.prepared.observer.look(self.shells[server])
            facts = {server: seen.facts}
            idle = {one.name for one in self.prepared.manifest.servers if not one.dynos}
            problems = preconditions.servers(facts, self.prepared.stack, idle=idle)
            return [
                DynoctlError(one.summary, f"Expected: {one.expected}. {one.hint}" if one.expected else one.hint)
                for one in problems
            ]

        came = {change.resource.server for change in self.report.done} - self.broken
        for server, result in each(work, sorted(came)).items():
            for problem in [result] if isinstance(result, DynoctlError) else result:
                self.fail(server, "packages", problem)

    def build(self) -> Upload | None:
        """Make the slug's image, where the plan says, before anything needs it; None where no server does."""
        plan, slug = self.prepared.plan, self.prepared.slug
        needed = any(
            change.action == "create"
            and change.resource.local is not None
            and change.resource.server not in self.broken
            for change in plan.changes
        )
        if not needed or slug is None or self._shut():
            return None
        builder = plan.builder
        try:
            if builder is not None and (builder in self.broken or builder not in self.prepared.fleet.sessions):
                raise DynoctlError(f"{builder} was to build the slug, and cannot be used")
            session = None if builder is None else self.prepared.fleet.sessions[builder]
            return slug.image(session, lambda text: self.listener(Event("note", builder or "here", "slug", text)))
        except DynoctlError as error:
            self._refuse(Failure(builder or "here", "build", error.summary, error.hint))
            return None

    def release(self, memory: Memory) -> None:
        """Run the release command, once; where it fails, nothing moves. ``memory`` writes down where it was begun, and
        that it ended."""
        server, prepared = self.prepared.plan.release_on, self.prepared
        now = prepared.plan.release
        if server is None or prepared.slug is None or now is None or self._shut():
            return
        registry = prepared.registry
        mark = records.commanded(prepared.plan.app, now.number)
        one = registry.release(prepared.manifest, prepared.stack, prepared.slug, server, prepared.scope, mark)
        try:
            if server in self.broken:
                raise DynoctlError(f"{server}: it was to run the release command, and cannot be used")
            alone = registry.alone(prepared.plan.app)
            for name, result in each(lambda name: self.shells[name].run([alone]), self.shells).items():
                if isinstance(result, StepFailed):
                    raise DynoctlError(f"{name}: {result.output}", "Two at the same time are one too many.")
            memory.commanding(server)
            if server in self.broken:
                raise DynoctlError(f"{server}: it was to run the release command, and was lost")
            said = self.shells[server].run(one.commands, self._step(server, "release command"))
            memory.commanded(well=True)
            self.report.release_said = self.redact(said.strip("\n"))
            self.listener(Event("done", server, "release command", "ended well"))
        except StepFailed as error:
            memory.commanded(well=False)
            summary = f"{server}: the release command failed, so the release was rejected"
            self._refuse(Failure(server, "release command", summary, error.output or "It said nothing.", rejected=True))
        except DynoctlError as error:
            self._refuse(Failure(server, "release command", error.summary, error.hint))

    def rehearse(self) -> None:
        """Boot a candidate of the release wherever it is new; one that does not answer ends it all."""
        prepared = self.prepared
        servers = [name for name in prepared.plan.candidates if name not in self.broken]
        slug = prepared.slug
        if not servers or slug is None or self._shut():
            return
        self.listener(Event("phase", text="rehearse", total=len(servers)))

        def work(server: str) -> None:
            one = prepared.registry.candidate(prepared.manifest, prepared.stack, slug, server, prepared.scope)
            self.shells[server].run(one.commands, self._step(server, "candidate"))
            self.listener(Event("done", server, "candidate", "answered"))

        rejected: dict[str, list[str]] = {}
        for server, result in each(work, servers).items():
            if isinstance(result, StepFailed):
                rejected.setdefault(result.output or "It said nothing.", []).append(server)
            elif isinstance(result, DynoctlError):
                self.fail(server, "candidate", result)
        for detail, where in rejected.items():
            summary = f"{', '.join(where)}: the release was rejected, as its candidate did not answer"
            self._refuse(Failure(where[0], "candidate", summary, detail, rejected=True))

    def _shut(self) -> bool:
        return self.stop.is_set() or self.broken >= set(self.shells)

    def _step(self, server: str, subject: str) -> Callable[..., None]:
        return lambda command: self.listener(Event("step", server, subject, command.says))

    def _refuse(self, failure: Failure) -> None:
        summary, detail = self.redact(failure.summary), self.redact(failure.detail)
        self.report.failures.append(
            Failure(failure.server, failure.subject, summary, detail, rejected=failure.rejected)
        )
        self.listener(Event("failed", failure.server, failure.subject, summary))
        self.broken |= set(self.shells)
