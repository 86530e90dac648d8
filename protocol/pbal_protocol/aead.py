"""AES-CCM with one interface on both interpreters.

    Ccm(key, tag_len=8)
        .seal(nonce, aad, plaintext) -> ciphertext and tag
        .open(nonce, aad, sealed) -> plaintext; AuthError when anything was changed
        .seal_at(nonce, buf, a, p, e) -> end      in the caller's buffer
        .open_at(nonce, buf, a, p, e) -> end      in the caller's buffer

In the `_at` forms buf[a:p] is the associated data and buf[p:e] the plaintext (seal) or the
ciphertext with its tag (open); text is replaced in place. After a failed open the buffer is
as it was.
"""

from pbal_protocol.compat import MICROPYTHON

if MICROPYTHON:
    from pbal_protocol.ccm_node import Ccm
else:
    from pbal_protocol.ccm_host import Ccm  # type: ignore[assignment,unused-ignore]

__all__ = ["Ccm"]
