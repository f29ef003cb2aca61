import htmx from './htmx.js'
import 'htmx-ext-sse'
import { Idiomorph } from 'idiomorph'

// New content is merged into the old: focus, selection and open details stay as they are.
htmx.defineExtension('morph', {
  isInlineSwap: (style) => style === 'morph',
  handleSwap(style, target, fragment) {
    if (style !== 'morph') return false
    return Idiomorph.morph(target, fragment.children, {
      morphStyle: 'innerHTML',
      callbacks: { beforeAttributeUpdated: (name) => name !== 'open' },
    })
  },
})

// Where the stream of events has ended, the page says that it is no longer live.
function live(on) {
  document.body.toggleAttribute('data-stale', !on)
}
document.addEventListener('htmx:sseOpen', () => live(true))
document.addEventListener('htmx:sseError', () => live(false))
document.addEventListener('htmx:sseClose', (event) => {
  live(false)
  if (event.detail.type === 'message') location.reload()
})

// Whoever has to log in first is sent there with the whole page.
document.addEventListener('htmx:beforeSwap', (event) => {
  if (event.detail.xhr.status === 401) {
    event.detail.shouldSwap = false
    location.assign('/login')
  } else if (event.detail.xhr.status >= 400) {
    event.detail.shouldSwap = true
    event.detail.isError = false
  }
})

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]')
  if (!button) return
  const text = document.getElementById(button.dataset.copy).textContent
  try {
    await navigator.clipboard.writeText(text)
  } catch {
    // Browsers offer the clipboard to pages with TLS alone.
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy))
    document.execCommand('copy')
  }
  const label = button.textContent
  button.textContent = 'Copied'
  setTimeout(() => { button.textContent = label }, 1500)
})

// A form that cannot be undone asks first.
document.addEventListener('submit', (event) => {
  const question = event.target.dataset.ask
  if (question && !confirm(question)) {
    event.preventDefault()
    event.stopImmediatePropagation()
  }
}, true)

// A second click while the answer to the first is on its way sends nothing. Where no other page
// comes, as after a download, the form can be sent again after some seconds.
const onItsWay = new WeakSet()
document.addEventListener('submit', (event) => {
  const form = event.target
  if (onItsWay.has(form)) {
    event.preventDefault()
    return
  }
  onItsWay.add(form)
  setTimeout(() => onItsWay.delete(form), 5000)
})
