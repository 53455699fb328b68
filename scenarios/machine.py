"""Builds a VM and its tasks from a scenario.

`Parts` says of which classes: a changed protocol is a subclass of one of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs

from memslots.arch import ArchHooks
from memslots.errors import MemoryRegionError
from memslots.guest_memfd import GuestMemfd
from memslots.profile import X86_64_LINUX_6_18, Profile
from memslots.region import Region
from memslots.units import Gpa
from memslots.update import Update
from memslots.vm import Vm
from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from scenarios.scenario import RESULTS, ReaderSpec, Scenario, VcpuSpec
from scenarios.tracepoints import BegunLate, OrderUnknown, ResultCompared
from scenarios.traces.overlap import Gate
from vcpus.arch_x86 import ArchX86
from vcpus.guest_memory import GuestMemory
from vcpus.host_memory import HostMemory
from vcpus.lookup import SlotLookup
from vcpus.shadow_roots import ShadowRoots
from vcpus.vcpu import Access, Vcpu

UNKNOWN_SIZE = 1 << 63
"""Bytes of a guest_memfd whose making was not recorded: nothing lies behind its end."""

MAIN = "main"
"""The thread of the VMM that stops the vCPUs at the end."""

ArgumentT = TypeVar("ArgumentT")


@attrs.frozen(kw_only=True)
class Parts:
    """The classes of which a machine is built; replace one to break something."""

    update: Callable[[Vm], Update] = Update
    srcu: Callable[[Scheduler, str], SrcuDomain] = SrcuDomain
    arch: Callable[[Vm], ArchHooks] = ArchX86
    memory: Callable[[Vm, SlotLookup, HostMemory], GuestMemory] = GuestMemory
    shadow_roots: Callable[[Vm], ShadowRoots] = ShadowRoots


@attrs.frozen(kw_only=True)
class Call:
    """One call of a writer.

    Attributes:
        region: What it asks for.
        expected: What the real kernel answered; None if that is not known.
        line: Where it stands in the trace or the scenario, from 1.
        place: Its position among all calls of the run, from 0; also in ``Work.gate``.
    """

    region: Region
    expected: int | None
    line: int
    place: int


@attrs.frozen(kw_only=True)
class Work:
    """What the writers of a run do.

    Attributes:
        calls: By writer, in the writer's order.
        gate: Which calls must have returned before which may begin; None if none.
        unknown_order: Lines of overlapping calls whose order can matter.
        begun_late: Lines of calls that succeeded on slots that no recorded call made.
        guest_memfds: Descriptors of guest_memfds that recorded calls have bound.
        profile: Limits of the kernel that answered.
    """

    calls: Mapping[str, Sequence[Call]]
    gate: Callable[[], Gate] | None = None
    unknown_order: tuple[tuple[int, int], ...] = ()
    begun_late: tuple[int, ...] = ()
    guest_memfds: tuple[int, ...] = ()
    profile: Profile = X86_64_LINUX_6_18

    @classmethod
    def of(cls, scenario: Scenario) -> Work:
        """What the writers of a scenario do."""
        places = itertools.count()
        return cls(
            calls={
                spec.name: [
                    Call(
                        region=call.region,
                        expected=None if call.expect is None else RESULTS[call.expect],
                        line=line,
                        place=next(places),
                    )
                    for _ in range(spec.repeat)
                    for line, call in enumerate(spec.calls, 1)
                ]
                for spec in scenario.writers
            }
        )


@attrs.frozen
class MayBegin:
    """Condition of a call: what returned before it in the trace has returned."""

    gate: Gate
    place: int

    def __call__(self) -> bool:
        """Whether it may begin."""
        return self.gate.may_begin(self.place)


class Machine:
    """A VM, its vCPUs and the threads of its VMM, ready to be scheduled.

    Args:
        scenario: What there is.
        scheduler: Gets the tasks.
        work: What the writers do; by default what the scenario says.
        parts: Of which classes it is built.

    Attributes:
        vm: The VM.
        update: The protocol that its writers use.
        vcpus: Its vCPUs.
    """

    def __init__(
        self,
        scenario: Scenario,
        scheduler: Scheduler,
        *,
        work: Work | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.scenario = scenario
        self._scheduler = scheduler
        self._work = work or Work.of(scenario)
        parts = parts or Parts()
        self.vm = Vm(
            scheduler,
            profile=self._work.profile,
            address_space_count=scenario.address_spaces,
            srcu=parts.srcu,
            arch=parts.arch,
        )
        self.vm.install(spec.region for spec in scenario.slots)
        self.update = parts.update(self.vm)
        self.lookup = SlotLookup(self.vm, scenario.granularity)
        host = HostMemory(scheduler)
        self.memory = parts.memory(self.vm, self.lookup, host)
        self._shadow_roots = self._make_shadow_roots(parts)
        self._gate = self._work.gate() if self._work.gate else None
        self._progress = Location("calls that returned")
        self._left = len(self._work.calls)
        self.vcpus: list[Vcpu] = []
        self._persistent: list[tuple[Vcpu, VcpuSpec]] = []
        for descriptor in self._work.guest_memfds:
            self.vm.guest_memfds[descriptor] = GuestMemfd(UNKNOWN_SIZE)
        if scheduler.tracing and self._work.unknown_order:
            pairs = self._work.unknown_order
            scheduler.emit(OrderUnknown(len(pairs), pairs[:20]))
        if scheduler.tracing and self._work.begun_late:
            scheduler.emit(BegunLate(self._work.begun_late[:20]))
        self._add_tasks()

    def _make_shadow_roots(self, parts: Parts) -> ShadowRoots:
        """Those of the architecture, unless the parts name others."""
        arch = self.vm.arch
        if not isinstance(arch, ArchX86):
            return parts.shadow_roots(self.vm)
        if parts.shadow_roots is not ShadowRoots:
            arch.shadow_roots = parts.shadow_roots(self.vm)
        return arch.shadow_roots

    def _add_tasks(self) -> None:
        scheduler = self._scheduler
        for spec in self.scenario.vcpus:
            for place in range(spec.count):
                self._add_vcpu(spec, place)
        for name, calls in self._work.calls.items():
            scheduler.task(name, _Bound(self._write, calls))
        for reader in self.scenario.readers:
            scheduler.task(reader.name, _Bound(self._read, reader))
        for allocator in self.scenario.allocators:
            scheduler.task(allocator.name, self._allocate)
        if self._persistent:
            scheduler.task(MAIN, self._stop_vcpus)

    def _add_vcpu(self, spec: VcpuSpec, place: int) -> None:
        index = len(self.vcpus)
        vcpu = Vcpu(self.vm, index, self.memory, as_id=spec.address_space)
        self.vcpus.append(vcpu)
        accesses = [Access(each.exit, Gpa(each.gpa)) for each in spec.accesses]
        turn = place % len(accesses)
        order = accesses[turn:] + accesses[:turn]
        exits: int | None = spec.exits
        if spec.until_writers_return:
            self._persistent.append((vcpu, spec))
            exits = None
        body = _Bound(self._run_vcpu, (vcpu, order, exits))
        self._scheduler.task(f"vcpu{index}", body)

    async def _run_vcpu(self, what: tuple[Vcpu, list[Access], int | None]) -> None:
        vcpu, order, exits = what
        await vcpu.run(order, exits)

    async def _write(self, calls: Sequence[Call]) -> None:
        scheduler = self._scheduler
        begin = Operation("begin after", reads=(self._progress,))
        for call in calls:
            if self._gate is not None:
                await scheduler.point(begin, MayBegin(self._gate, call.place))
            number = call.place + 1
            result = 0
            try:
                await self.update.set_memory_region(call.region, call=number)
            except MemoryRegionError as error:
                result = error.result
            if call.expected is not None and scheduler.tracing:
                scheduler.emit(
                    ResultCompared(
                        number,
                        call.line,
                        str(call.region),
                        call.expected,
                        result,
                    )
                )
            if self._gate is not None:
                await scheduler.point(self._progress.write)
                self._gate.done(call.place)
        if self._persistent:
            await scheduler.point(self._progress.write)
            self._left -= 1

    async def _read(self, spec: ReaderSpec) -> None:
        for gpa in spec.gpas * spec.repeat:
            async with self.vm.srcu.reading():
                try:
                    await self.memory.read_guest_without_vcpu(0, Gpa(gpa))
                except MemoryRegionError:
                    continue

    async def _allocate(self) -> None:
        async with self.vm.srcu.reading():
            await self._shadow_roots.first_alloc()

    def _all_done(self) -> bool:
        return not self._left and all(
            vcpu.exits >= spec.exits for vcpu, spec in self._persistent
        )

    async def _stop_vcpus(self) -> None:
        """Tell the vCPUs to leave once the writers have returned."""
        reads = [self._progress, *(vcpu.exits_location for vcpu in self.vcpus)]
        everybody = Operation("wait for", reads=reads)
        await self._scheduler.point(everybody, self._all_done)
        for vcpu, _ in self._persistent:
            await vcpu.kick_out()


@attrs.frozen
class _Bound(Generic[ArgumentT]):
    """A body with its argument, both in plain sight."""

    body: Callable[[ArgumentT], Awaitable[None]]
    argument: ArgumentT

    async def __call__(self) -> None:
        await self.body(self.argument)
