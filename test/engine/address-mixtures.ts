/**
 * What must compile and, on the lines marked @ts-expect-error, what must not: the test is `npm run typecheck`. Never run.
 */
import type { CpuAddress, DmaAddress, PhysicalAddress, PrivateAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { IovaSpace } from "../../src/engine/iova-space.js";
import type { PageTable } from "../../src/engine/page-table.js";

export function mixtures(
  engine: Engine,
  table: PageTable,
  dma: DmaAddress,
  shared: PrivateAddress,
  physical: PhysicalAddress,
  cpu: CpuAddress,
): void {
  const dmaSpace: IovaSpace = engine.createIovaSpace();
  const privateSpace: IovaSpace<PrivateAddress> = engine.createIovaSpace<PrivateAddress>();
  table.map(dma, physical, 4096n, { read: true });
  table.map(shared, physical, 4096n, { read: true });
  dmaSpace.free(dmaSpace.allocate({ length: 4096n }));
  privateSpace.free(privateSpace.allocate({ length: 4096n }));
  // @ts-expect-error a private address is not free for the DMA API's space to take
  dmaSpace.free(shared);
  // @ts-expect-error nor a DMA address for a private one
  privateSpace.free(dma);
  // @ts-expect-error a private address never becomes a DMA address
  const wrong: DmaAddress = privateSpace.allocate({ length: 4096n });
  // @ts-expect-error IOVA and physical address exchanged
  table.map(physical, dma, 4096n, { read: true });
  // @ts-expect-error a CPU's virtual address is nothing a device can use
  table.walk(cpu);
  // @ts-expect-error nor is it physical
  engine.memory.read64(cpu);
  // @ts-expect-error memory is read at physical addresses, not at those a device uses
  engine.memory.read64(dma);
  // @ts-expect-error a plain number is no address of any kind
  table.unmap(0n, wrong);
}
