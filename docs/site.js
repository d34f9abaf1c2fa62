// A table that is wider than the page scrolls by itself: let the keyboard reach it.
document.querySelectorAll(".md-typeset table:not([class])").forEach((table) => {
  const watch = new ResizeObserver(() => {
    const box = table.closest(".md-typeset__scrollwrap")
    if (!box) return
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0
    else box.removeAttribute("tabindex")
  })
  watch.observe(table)
})
