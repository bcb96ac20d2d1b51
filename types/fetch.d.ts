// A name from the browser's fetch that Connect's own types use and that the types of Node 20 do not make global.

type HeadersInit = NonNullable<ConstructorParameters<typeof Headers>[0]>;
