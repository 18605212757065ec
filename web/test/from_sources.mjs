// node --experimental-transform-types --import from_sources.mjs SCRIPT: run a script of this folder on the sources of lib/ as
// they are, without what `npm run build` makes of them. Needs Node 24.
import { registerHooks } from "node:module";

registerHooks({
  resolve(specifier, context, next) {
    const isOurs = specifier.startsWith("../dist/lib/") || (specifier.startsWith("./") && context.parentURL.includes("/web/lib/"));
    return next(isOurs ? specifier.replace("../dist/lib/", "../lib/").replace(/\.js$/, ".ts") : specifier, context);
  },
});
