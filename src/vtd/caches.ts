/**
 * The context cache and the PASID cache: Intel VT-d Architecture Specification Rev. 5.10, sections 6.1 and 6.2. What is not
 * invalidated stays and is used.
 */
import { vtdContextSelection, vtdContextTags, vtdPasidSelection, vtdPasidTags } from "../cache/vtd.js";
import type { ConfigurationCache } from "../unit/configuration-cache.js";
import type { ConfigurationPlaces } from "../unit/translation.js";
import type { ContextCacheInvalidation, PasidCacheInvalidation } from "./invalidation.js";
import type { CachedContext, CachedPasid, Governing } from "./lookup.js";

/** Tags do not depend on the domain. */
const ANY_DOMAIN = 0;

export class ConfigurationCaches {
  constructor(
    private readonly contexts: ConfigurationCache<CachedContext>,
    private readonly pasids: ConfigurationCache<CachedPasid>,
  ) {}

  context(sid: number): CachedContext | undefined {
    return this.contexts.get(vtdContextTags(sid, null).tag);
  }

  /** The same without a look-up. */
  peekContext(sid: number): CachedContext | undefined {
    return this.contexts.peek(vtdContextTags(sid, null).tag);
  }

  keepContext(context: CachedContext): void {
    this.contexts.set(vtdContextTags(context.sid, context.domain), context);
  }

  pasid(sid: number, pasid: number): CachedPasid | undefined {
    return this.pasids.get(vtdPasidTags(sid, pasid, ANY_DOMAIN).tag);
  }

  keepPasid(entry: CachedPasid): void {
    this.pasids.set(vtdPasidTags(entry.sid, entry.pasid, entry.domain), entry);
  }

  /** Where what governs a source is. */
  placesOf({ context: { sid }, pasid, pasidEntry }: Governing): ConfigurationPlaces {
    return {
      context: this.contexts.placeOf(vtdContextTags(sid, null).tag),
      pasid: pasidEntry ? this.pasids.placeOf(vtdPasidTags(sid, pasid, ANY_DOMAIN).tag) : 0,
    };
  }

  invalidateContexts(request: ContextCacheInvalidation): void {
    this.contexts.invalidate(vtdContextSelection(request).context ?? []);
  }

  invalidatePasids(request: PasidCacheInvalidation): void {
    this.pasids.invalidate(vtdPasidSelection(request).pasid ?? []);
  }

  invalidateAll(): void {
    this.contexts.invalidate([{}]);
    this.pasids.invalidate([{}]);
  }
}
