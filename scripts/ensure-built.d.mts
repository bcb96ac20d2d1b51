// Types of ensure-built.mjs, for test/global-setup.ts.

export function ensureBuilt(options?: {
  tolerateTypeErrors?: boolean;
}): Promise<{ built: boolean; message: string }>;
