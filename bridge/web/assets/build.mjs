// Builds what the page serves, from src and the packages of package-lock.json, into dist. Equal
// inputs give equal bytes: what is committed can be built again and compared.
import { build } from 'esbuild'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'

const libraries = ['htmx.org', 'htmx-ext-sse', 'idiomorph', 'uplot']

await rm('dist', { recursive: true, force: true })
await mkdir('dist')
await build({
  entryPoints: { app: 'src/app.js', charts: 'src/charts.js', style: 'src/style.css' },
  outdir: 'dist',
  bundle: true,
  minify: true,
  format: 'iife',
  target: ['chrome109', 'firefox115', 'safari15.6'],
  legalComments: 'none',
})
const licences = await Promise.all(libraries.map(async (name) => {
  const { version, license } = JSON.parse(await readFile(`node_modules/${name}/package.json`))
  const text = await readFile(`node_modules/${name}/LICENSE`, 'utf8')
  return `${name} ${version} (${license})\n\n${text.trim()}\n`
}))
await writeFile('dist/licences.txt', licences.join(`\n${'-'.repeat(72)}\n\n`))
