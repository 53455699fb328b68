"""Builds a VM and its tasks from a scenario.

`Parts` says of which classes: a changed protocol is a subclass of one of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs

from memslots.allocator import Allocation
from memslots.arch import ArchHooks
from memslots.dirty_ring import ENTRY_BYTES
from memslots.dirty_tracking import INITIALLY_SET, MANUAL_PROTECT_ENABLE
from memslots.guest_memfd import GuestMemfd
from memslots.profile import X86_64_LINUX_6_18, Profile
from memslots.region import Region
from memslots.units import PAGE_SIZE, Gpa, Hva
from memslots.update import Update
from memslots.vm import Vm
from rcu.operation import Location, Operation
from rcu.schedule.scheduler import Scheduler
from rcu.srcu.domain import SrcuDomain
from rcu.trace import Event
from scenarios.calls import (
    AnyCall,
    DestroyVmSpec,
    OtherCall,
    PauseVcpusSpec,
    RegionCallSpec,
    StopVcpusSpec,
)
from scenarios.kvm_thread import KvmThread
from scenarios.pace import Pace
from scenarios.pause import Pause
from scenarios.scenario import (
    DirtyMode,
    HostAction,
    NotifierSpec,
    ReaderSpec,
    Scenario,
    VcpuSpec,
    Zap,
)
from scenarios.tracepoints import GuestExpected, ResultCompared
from scenarios.traces.overlap import Gate, MayBegin
from vcpus.arch_x86 import ArchX86
from vcpus.cmma import Cmma
from vcpus.guest_memory import GuestMemory
from vcpus.host_memory import HostMemory
from vcpus.lookup import SlotLookup
from vcpus.mmio_cache import MmioCache
from vcpus.mmu_notifier import MmuNotifier
from vcpus.page_fault import PageFaults
from vcpus.pfn_cache import PfnCache
from vcpus.shadow_mmu import ShadowMmu
from vcpus.shadow_roots import ShadowRoots
from vcpus.vcpu import Access, Vcpu

UNKNOWN_SIZE = 1 << 63
"""Bytes of a guest_memfd whose making was not recorded: nothing lies behind its end."""

MAIN = "main"
"""The thread of the VMM that stops the vCPUs at the end."""

Body = Callable[[], Awaitable[None]]

ArgumentT = TypeVar("ArgumentT")


@attrs.frozen(kw_only=True)
class Parts:
    """The classes of which a machine is built; replace one to break something."""

    vm: Callable[..., Vm] = Vm
    update: Callable[[Vm], Update] = Update
    srcu: Callable[[Scheduler, str], SrcuDomain] = SrcuDomain
    arch: Callable[..., ArchHooks] = ArchX86
    shadow_roots: Callable[[Vm], ShadowRoots] = ShadowRoots
    mmu: Callable[[Vm, ShadowRoots], ShadowMmu] = ShadowMmu
    mmio: Callable[[Vm, int], MmioCache] = MmioCache
    lookup: Callable[..., SlotLookup] = SlotLookup
    memory: Callable[[Vm, SlotLookup, HostMemory], GuestMemory] = GuestMemory
    faults: Callable[..., PageFaults] = PageFaults
    notifier: Callable[[Vm, ShadowMmu, HostMemory], MmuNotifier] = MmuNotifier
    vcpu: Callable[..., Vcpu] = Vcpu
    pfn_cache: Callable[..., PfnCache] = PfnCache
    cmma: Callable[[GuestMemory], Cmma] = Cmma


@attrs.frozen(kw_only=True)
class Call:
    """One call of a writer.

    Attributes:
        what: What it asks for.
        expected: What the real kernel answered; None if that is not known.
        line: Where it stands in the trace or the scenario, from 1.
        place: Its position among all calls of the run, from 0.
        fail: An allocation that fails in it.
    """

    what: Region | OtherCall
    expected: int | None
    line: int
    place: int
    fail: Allocation | None = None


@attrs.frozen(kw_only=True)
class Work:
    """What the writers of a run do.

    Attributes:
        calls: By writer, in the writer's order.
        predecessors: By place, which calls of other writers must have returned before a
            call may begin; None if the writers' own order is enough.
        accesses_per_call: How many accesses each vCPU makes for a call that returns; as
            many as it can if None.
        notes: What a trace tells about itself, for whoever judges the run.
        guest_memfds: Bytes of the guest_memfds, by descriptor.
        profile: Limits of the kernel that answered.
    """

    calls: Mapping[str, Sequence[Call]]
    predecessors: Sequence[Sequence[int]] | None = None
    accesses_per_call: float | None = None
    notes: tuple[Event, ...] = ()
    guest_memfds: Mapping[int, int] = attrs.field(factory=dict)
    profile: Profile = X86_64_LINUX_6_18

    @classmethod
    def of(cls, scenario: Scenario) -> Work:
        """What the writers of a scenario do."""
        places = itertools.count()
        return cls(
            calls={
                spec.name: [
                    Call(
                        what=what,
                        expected=call.expected,
                        line=line,
                        place=next(places),
                        fail=getattr(call, "fail", None),
                    )
                    for _ in range(spec.repeat)
                    for line, call in enumerate(spec.calls, 1)
                    for what in _each(call)
                ]
                for spec in scenario.writers
            },
            guest_memfds=dict(enumerate(scenario.guest_memfds)),
            profile=scenario.profile,
        )


def _each(call: AnyCall) -> Sequence[Region | OtherCall]:
    """What one call of a scenario asks for: several regions if it counts them."""
    once = call.regions if isinstance(call, RegionCallSpec) else [call]
    return [*once] * call.repeat


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
        pause: Keeps them out of KVM for a while.
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
        self._parts = parts
        self.vm = parts.vm(
            scheduler,
            profile=self._work.profile,
            address_space_count=scenario.address_spaces,
            srcu=parts.srcu,
            arch=self._make_arch,
        )
        self._set_up_dirty_log()
        self.update = parts.update(self.vm)
        if scenario.internal_slots:
            self.update.install_internal_slots()
        self.vm.buses.install(scenario.devices)
        self.vm.install(itertools.chain(*(spec.regions for spec in scenario.slots)))
        self.lookup = parts.lookup(self.vm, scenario.granularity)
        self.host = HostMemory(scheduler)
        self.memory = parts.memory(self.vm, self.lookup, self.host)
        self.faults = parts.faults(self.vm, self.lookup, self.host, self.mmu, self.mmio)
        self.notifier = parts.notifier(self.vm, self.mmu, self.host)
        caches = self.notifier.pfn_caches
        self.pfn_cache = parts.pfn_cache(self.memory, self.mmu, caches)
        self.cmma = parts.cmma(self.memory)
        before, per_call = self._work.predecessors, self._work.accesses_per_call
        self._gate = None if before is None else Gate(before)
        self._pace = None if per_call is None else Pace(scheduler, per_call)
        self._progress = Location("calls that returned")
        self._left = len(self._work.calls) + len(scenario.notifiers)
        self._ended = Location("tasks that ended")
        self._running: list[str] = []
        self._ends_matter = self._calls_any(DestroyVmSpec, StopVcpusSpec)
        self._pauses = self._calls_any(PauseVcpusSpec)
        self.vcpus: list[Vcpu] = []
        self.pause = Pause(scheduler, self.vcpus)
        self._persistent: list[tuple[Vcpu, VcpuSpec]] = []
        for descriptor, size_bytes in self._work.guest_memfds.items():
            self.vm.guest_memfds[descriptor] = GuestMemfd(size_bytes)
        if scheduler.tracing:
            for note in self._work.notes:
                scheduler.emit(note)
        self._add_tasks()

    def _make_arch(self, vm: Vm) -> ArchHooks:
        """The architecture, with the MMU that the scenario asks for."""
        wanted, parts = self.scenario.mmu, self._parts
        self.shadow_roots = parts.shadow_roots(vm)
        self.mmu = parts.mmu(vm, self.shadow_roots)
        self.mmu.max_pages = wanted.max_pages
        self.mmu.ad_enabled = wanted.accessed_bits
        self.mmio = parts.mmio(vm, wanted.mmio_gen_bits)
        return parts.arch(
            vm,
            shadow_roots=self.shadow_roots,
            mmu=self.mmu,
            mmio=self.mmio,
            zap_all=wanted.zap is Zap.ALL,
        )

    def _set_up_dirty_log(self) -> None:
        wanted, log = self.scenario.mmu, self.vm.dirty_log
        if wanted.dirty_mode is DirtyMode.RING:
            log.ring_bytes = wanted.dirty_ring_entries * ENTRY_BYTES
        elif wanted.dirty_mode is DirtyMode.MANUAL_PROTECT:
            log.manual_protect = MANUAL_PROTECT_ENABLE
        elif wanted.dirty_mode is DirtyMode.INITIALLY_SET:
            log.manual_protect = MANUAL_PROTECT_ENABLE | INITIALLY_SET

    def _add_tasks(self) -> None:
        for spec in self.scenario.vcpus:
            for place in range(spec.count):
                self._add_vcpu(spec, place)
        for name, calls in self._work.calls.items():
            self._add(name, _Bound(self._write, (KvmThread(self), calls)))
        for reader in self.scenario.readers:
            self._add(reader.name, _Bound(self._read, (KvmThread(self), reader)))
        for notifier in self.scenario.notifiers:
            self._add(notifier.name, _Bound(self._change_pages, notifier))
        for allocator in self.scenario.allocators:
            self._add(allocator.name, self._allocate)
        if self._persistent:  # ends only after the writers, so none waits for its end
            self._scheduler.task(MAIN, self._stop_vcpus)

    def _add(self, name: str, body: Body) -> None:
        """Add a task; where somebody waits for its end, it tells of it."""
        if self._ends_matter:
            self._running.append(name)
            body = _Bound(self._tell_end, (name, body))
        self._scheduler.task(name, body)

    def _calls_any(self, *kinds: type[AnyCall]) -> bool:
        """Whether any writer makes a call of one of these kinds."""
        return any(
            isinstance(call.what, kinds)
            for calls in self._work.calls.values()
            for call in calls
        )

    async def _tell_end(self, what: tuple[str, Body]) -> None:
        name, body = what
        await body()
        await self._scheduler.point(self._ended.write)
        self._running.remove(name)

    def _add_vcpu(self, spec: VcpuSpec, place: int) -> None:
        index = len(self.vcpus)
        vcpu = self._parts.vcpu(
            self.vm,
            index,
            self.memory,
            self.faults,
            as_id=spec.address_space,
            nested=spec.nested,
        )
        self.vcpus.append(vcpu)
        accesses = [
            Access(each.kind, Gpa(each.gpa + page * PAGE_SIZE), each.length, each.value)
            for each in spec.accesses
            for page in range(each.pages)
        ]
        turn = place % len(accesses)
        order = accesses[turn:] + accesses[:turn]
        if spec.until_writers_return:
            self._persistent.append((vcpu, spec))
        self._add(f"vcpu{index}", _Bound(self._run_vcpu, (vcpu, order, spec)))
        if self._scheduler.tracing and (spec.may_read or not spec.mmio):
            self._scheduler.emit(GuestExpected(index, spec.may_read, spec.mmio))

    async def _run_vcpu(self, what: tuple[Vcpu, list[Access], VcpuSpec]) -> None:
        vcpu, order, spec = what
        times = None if spec.until_writers_return else spec.times
        if self._pace is not None:
            await self._pace.run(vcpu, order, spec.times)
        elif self._pauses:
            await self.pause.run(vcpu, order, times)
        else:
            await vcpu.run(order, times)

    async def _write(self, what: tuple[KvmThread, Sequence[Call]]) -> None:
        thread, calls = what
        scheduler = self._scheduler
        begin = Operation("begin after", reads=(self._progress,))
        for call in calls:
            if self._gate is not None and self._gate.waits(call.place):
                await scheduler.point(begin, MayBegin(self._gate, call.place))
            number = call.place + 1
            if call.fail is not None:
                self.vm.allocator.fail(call.fail)
            result = await thread.perform(call.what, number)
            self.vm.allocator.forget()
            if call.expected is not None and scheduler.tracing:
                scheduler.emit(
                    ResultCompared(
                        number,
                        call.line,
                        str(call.what),
                        call.expected,
                        result,
                    )
                )
            if self._gate is not None and self._gate.holds_up(call.place):
                await scheduler.point(self._progress.write)
                self._gate.done(call.place)
            if self._pace is not None:
                await scheduler.point(self._pace.location.write)
                self._pace.returned += 1
        if self._persistent:
            await scheduler.point(self._progress.write)
            self._left -= 1

    async def _read(self, what: tuple[KvmThread, ReaderSpec]) -> None:
        thread, spec = what
        for access in spec.accesses * spec.repeat:
            async with self.vm.srcu.reading():
                await thread.access(access)

    async def _change_pages(self, spec: NotifierSpec) -> None:
        for change in spec.changes * spec.repeat:
            start, end = change.hva, change.hva + change.size
            for piece in range(start, end, change.step or change.size):
                behind = min(end, piece + (change.step or change.size))
                await self._change(change.action, Hva(piece), Hva(behind))
        if self._persistent:
            await self._scheduler.point(self._progress.write)
            self._left -= 1

    async def _change(self, action: HostAction, start: Hva, end: Hva) -> None:
        notifier = self.notifier
        match action:
            case HostAction.UNMAP:
                await notifier.unmap(start, end)
            case HostAction.REPLACE:
                await notifier.replace(start)
            case HostAction.AGE:
                await notifier.clear_young(start, end)
            case HostAction.BEGIN:
                await notifier.invalidate_range_start(start, end)
            case HostAction.END:
                await notifier.invalidate_range_end(start, end)

    async def _allocate(self) -> None:
        async with self.vm.srcu.reading():
            await self.shadow_roots.first_alloc()

    def _all_done(self) -> bool:
        return not self._left and self._enough_made()

    def _enough_made(self) -> bool:
        return all(
            vcpu.must_exit or vcpu.is_idle or vcpu.progress >= spec.times
            for vcpu, spec in self._persistent
        )

    def _what_is_made(self) -> list[Location]:
        """What `_enough_made` reads."""
        vcpus = [vcpu for vcpu, _ in self._persistent]
        told = [vcpu.immediate_exit for vcpu in vcpus]
        return [*(vcpu.progress_location for vcpu in vcpus), *told]

    async def _stop_vcpus(self) -> None:
        """Tell the vCPUs to leave once the writers have returned."""
        everybody = Operation("wait for", reads=[self._progress, *self._what_is_made()])
        await self._scheduler.point(everybody, self._all_done)
        for vcpu, _ in self._persistent:
            await vcpu.kick_out()

    async def stop_vcpus(self) -> None:
        """Let the vCPUs make their accesses, tell them to leave, wait until they have.

        Waits for: the tasks of all vCPUs.
        """
        enough = Operation("wait for", reads=self._what_is_made())
        await self._scheduler.point(enough, self._enough_made)
        for vcpu, _ in self._persistent:
            await vcpu.kick_out()
        everybody = Operation("wait for", reads=(self._ended,))
        await self._scheduler.point(everybody, self._no_vcpu_runs)

    def _no_vcpu_runs(self) -> bool:
        return not any(f"vcpu{vcpu.index}" in self._running for vcpu in self.vcpus)

    async def wait_until_alone(self) -> None:
        """Wait until every other task has ended."""
        everybody = Operation("wait for", reads=(self._ended,))
        await self._scheduler.point(everybody, self._is_alone)

    def _is_alone(self) -> bool:
        return len(self._running) == 1


@attrs.frozen
class _Bound(Generic[ArgumentT]):
    """A body with its argument, both in plain sight."""

    body: Callable[[ArgumentT], Awaitable[None]]
    argument: ArgumentT

    async def __call__(self) -> None:
        await self.body(self.argument)
