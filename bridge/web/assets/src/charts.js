import uPlot from 'uplot'

// Draws what the exits carried, and how long they took to answer, from /charts. Whoever sees no
// drawing reads the table below it.
const card = document.getElementById('charts')
const dashes = [[], [6, 4]]

const unit = (values, names, base) => {
  const most = Math.max(...values.map((v) => Math.abs(v ?? 0)), 0)
  let i = 0
  while (i < names.length - 1 && most >= base ** (i + 1)) i++
  return values.map((v) => v == null ? '' : `${+(v / base ** i).toPrecision(3)} ${names[i]}`)
}
const bits = (values) => unit(values, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'], 1000)
const delays = (values) => unit(values, ['ms', 's'], 1000)

// The browser's own way of writing times.
const written = new Intl.DateTimeFormat(undefined, card?.dataset.span === 'month'
  ? { day: 'numeric', month: 'short' } : { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'short' })
const times = (format, list) => list.map((t) => t == null ? '–' : format.format(t * 1000))

let plots = []

function draw(place, data, series, words) {
  const style = getComputedStyle(document.documentElement)
  const color = (name) => style.getPropertyValue(name).trim()
  const axis = { stroke: color('--soft'), grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false } }
  const one = (value) => value == null ? '–' : words([value])[0]
  const plot = new uPlot({
    width: place.clientWidth,
    height: 200,
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_, min, max) => [0, Math.max(max * 1.05, 1)] } },
    axes: [{ ...axis, space: 70, values: (_, ticks) => times(written, ticks) }, { ...axis, size: 78, values: (_, ticks) => words(ticks) }],
    series: [{ label: 'Time', value: (_, t) => times(moment, [t])[0] }, ...series.map((s) => ({
      label: s.label, stroke: color(`--chart-${s.color}`), dash: dashes[s.dash], width: 2,
      points: { show: false }, value: (_, value) => one(value) }))],
  }, data, place)
  plots.push(plot)
}

async function show() {
  const answer = await fetch(`/charts?span=${card.dataset.span}`)
  if (!answer.ok) return
  const { times: at, exits } = await answer.json()
  plots.forEach((plot) => plot.destroy())
  plots = []
  draw(document.getElementById('chart-rate'),
    [at, ...exits.flatMap((e) => [e.down, e.up])],
    exits.flatMap((e, i) => [
      { label: `${e.name} download`, color: i % 6, dash: 0 },
      { label: `${e.name} upload`, color: i % 6, dash: 1 }]), bits)
  draw(document.getElementById('chart-delay'), [at, ...exits.map((e) => e.delay)],
    exits.map((e, i) => ({ label: e.name, color: i % 6, dash: 0 })), delays)
}

if (card && document.getElementById('chart-rate')) {
  show()
  setInterval(() => { if (!document.hidden) show() }, 60_000)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', show)
  addEventListener('resize', () => plots.forEach((plot) =>
    plot.setSize({ width: plot.root.parentNode.clientWidth, height: 200 })))
}
