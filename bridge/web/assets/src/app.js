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
  if (event.detail.type === 'message' && !loggedOut()) location.reload()
})

// What was typed is worth more than a log-in page: then a notice says what to do, and it returns
// true.
function loggedOut() {
  const typed = [...document.querySelectorAll('main form input, main form textarea')].some(
    (field) => field.files?.length || field.type !== 'checkbox' && field.value !== field.defaultValue)
  if (typed) document.getElementById('ended').hidden = false
  return typed
}

// Whoever has to log in first is sent there with the whole page.
document.addEventListener('htmx:beforeSwap', (event) => {
  if (event.detail.xhr.status === 401) {
    event.detail.shouldSwap = false
    if (!loggedOut()) location.assign(`/login?back=${encodeURIComponent(location.pathname)}`)
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
  if (form.enctype === 'multipart/form-data') {
    event.preventDefault()
    sendFile(form)
  }
})

// A form with a file is sent while its owner is logged in alone, with the token of that log-in: the
// box keeps no file for a later one.
async function sendFile(form) {
  const page = await fetch(form.action, { redirect: 'manual' }).catch(() => null)
  if (page?.ok) {
    const now = new DOMParser().parseFromString(await page.text(), 'text/html')
    form.elements.token.value = now.querySelector('input[name=token]').value
  } else if (page?.type === 'opaqueredirect') {
    onItsWay.delete(form)
    loggedOut()
    return
  }
  form.submit()
}

// A file that is too large is told before it is sent.
document.addEventListener('change', (event) => {
  const { files, dataset } = event.target
  if (!files || !dataset.max) return
  const large = [...files].some((file) => file.size > dataset.max * 2 ** 20)
  event.target.setCustomValidity(large ? `This file is larger than ${dataset.max} MB.` : '')
  event.target.reportValidity()
})
