// The extensions look for htmx among the globals.
import htmx from 'htmx.org'

window.htmx = htmx
export default htmx
