# SPDX-License-Identifier: GPL-2.0-or-later
"""How PJSIP is configured: limits, codecs, flags.  Pure data; build.py acts on it.

Every limit below replaces a default that was made for a desk phone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import sys
import sysconfig

MAX_CALLS = 4096
"PJSUA_MAX_CALLS: four times what one machine is meant to carry; costs nothing until a configuration asks for it"

_CONFIG = f"""\
/* Written by `trunkline pjsip build`. */

/* The ceiling of uaConfig.maxCalls, which sizes the table of calls at run time (default 4). pjsua raises
 * the number of conference ports with it. */
#define PJSUA_MAX_CALLS                 {MAX_CALLS}
/* An account for each trunk that registers or that calls come from (default 8). */
#define PJSUA_MAX_ACC                   512

/* A transaction stays for 32 s after its last response (timers D, H and J are left as the RFC has them), so
 * 500 calls a second keep 32,000 of them. Both are sizes of hash tables; the timer heap follows them. */
#define PJSIP_MAX_TSX_COUNT             32767
#define PJSIP_MAX_DIALOG_COUNT          32767
/* Timers that may fire in one poll (default 10): each poll crosses from Python to C and back. */
#define PJSIP_MAX_TIMED_OUT_ENTRIES     128

/* Sockets: listeners, and one for each TCP or TLS peer (default 64). */
#define PJ_IOQUEUE_MAX_HANDLES          8192
/* Hash of transports by peer address (default 31); TCP connections not yet accepted (default 5). */
#define PJSIP_TPMGR_HTABLE_SIZE         1023
#define PJSIP_TCP_TRANSPORT_BACKLOG     1024
#define PJSIP_TLS_TRANSPORT_BACKLOG     1024
/* One UDP socket takes the signalling of all calls, and what does not fit its buffer comes again only after
 * a retransmission timer. The kernel caps both at net.core.rmem_max and wmem_max; doctor says when. */
#define PJSIP_UDP_SO_RCVBUF_SIZE        (4*1024*1024)
#define PJSIP_UDP_SO_SNDBUF_SIZE        (1*1024*1024)

/* RFC 3261 18.1.1: any datagram up to 65,535 bytes must be handled (default 4000, which an INVITE with an
 * Identity header or a WebRTC offer passes). PJSIP reserves as much for each message it sends, of which only
 * the pages that are written become resident: 35 KB for a refused INVITE that lingers, all included. */
#define PJSIP_MAX_PKT_LEN               65535
/* Request URIs of cloud carriers carry tokens (default 256). */
#define PJSIP_MAX_URL_SIZE              1024

#define PJ_HAS_IPV6                     1

/* Our answer names one codec already; comfort noise beside it must not be struck out as a second one. */
#define PJMEDIA_SDP_NEG_ANSWER_MULTIPLE_CODECS 1

/* PJMEDIA must know each codec that we answer with, although it never touches a sample; of L16 it has 44,100 Hz
 * by itself. */
#define PJMEDIA_CODEC_L16_HAS_8KHZ_MONO        1
#define PJMEDIA_CODEC_L16_HAS_16KHZ_MONO       1
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Patch:
    """A change to a source file; left out where its place cannot be found, which costs what `what` says."""

    file: str
    before: str
    "must stand there once; what is inserted comes in front of it"
    insert: str
    what: str


_INVITE_FAILS = """\
            if (call->inv->dlg) {
                pjsip_inv_terminate(call->inv, sip_err_code, PJ_FALSE);
            }
            pjsip_dlg_dec_lock(dlg);

            call->inv = NULL;
            call->async_call.dlg = NULL;
            goto on_return;
        }
"""

PATCHES = (
    Patch(
        "pjmedia/src/pjmedia/sdp.c",
        """\
        status = PJ_SUCCESS;
    }
    PJ_CATCH_ANY {
        status = PJMEDIA_SDP_EINRTPMAP;
""",
        """\
        if (!pj_stricmp2(&rtpmap->enc_name, "opus") && rtpmap->param.slen == 0)
            rtpmap->param = pj_str("2");
        if (!pj_stricmp2(&rtpmap->enc_name, "G722"))
            rtpmap->clock_rate = 8000;
""",
        "peers that write opus/48000 or G722/16000",
    ),
    Patch(
        "pjmedia/src/pjmedia/stream_info.c",
        """\
        /* Normalize the codec info from codec manager. Note that the
""",
        """\
        if (!pj_stricmp2(&si->fmt.encoding_name, "G722"))
            si->fmt.clock_rate = 16000;

""",
        "G.722 under a dynamic payload type",
    ),
    *(
        Patch(
            "pjmedia/src/pjmedia/transport_srtp_sdes.c", before, "    return PJ_SUCCESS;\n", "encryption"
        )
        for before in (
            "    /* Verify remote media transport, it has to be RTP/AVP or RTP/SAVP */\n",
            "    m_rem = sdp_remote ? sdp_remote->media[media_index] : NULL;\n",
            "    m_rem = sdp_remote->media[media_index];\n",
        )
    ),
    *(
        Patch(
            "pjsip/src/pjsua-lib/pjsua_call.c",
            _INVITE_FAILS + behind,
            "            if (call->inv)\n",
            "offers that PJSIP refuses",
        )
        for behind in (
            "        status = pjsua_media_channel_init(call->index, PJSIP_ROLE_UAS,\n",
            "    }\n\n    /* Create answer */\n",
        )
    ),
)
"""Our answer is one that PJMEDIA must understand, too, so what we forgive a peer it has to forgive.

The keys of SRTP are none of its business, be they in a=crypto or made by DTLS: with the three patches of its SDES it
never looks at them, takes every profile that we take, and encrypts nothing.  Its own DTLS stays off, as it would shake
hands by itself, with two threads for each call.  The last two mend a crash: where media cannot be initialised, the
response may have ended the invite session already.
"""

CONFIGURE = (
    "--with-external-srtp",
    "--enable-libsamplerate",
    "--enable-epoll",
    # epoll: the gateway's RTP sockets push descriptors past 1024, where select() writes out of bounds.
    # The rest: we carry the media ourselves, so no devices, no video, no codecs that we do not answer with.
    "--disable-video",
    "--disable-sound",
    "--disable-upnp",
    "--disable-sdl",
    "--disable-ffmpeg",
    "--disable-v4l2",
    "--disable-openh264",
    "--disable-vpx",
    "--disable-libwebrtc",
    "--disable-libyuv",
    "--disable-speex-aec",
    "--disable-speex-codec",
    "--disable-gsm-codec",
    "--disable-ilbc-codec",
    "--disable-g7221-codec",
    "--disable-silk",
    "--disable-opencore-amr",
    "--disable-bcg729",
)

# -g0: Python's own flags ask for debug symbols, which make up most of the extension's size.
# NDEBUG: PJSIP's asserts become error codes; with them on, one odd message could end the gateway.
CFLAGS = "-O2 -fPIC -DNDEBUG -g0"

LIBRARIES = ("pjlib", "pjlib-util", "pjnath", "third_party", "pjmedia", "pjsip")
"folders in the order they are built; the top-level makefile also builds test programs and applications"


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """Everything besides the source that decides what comes out."""

    config_site: str = _CONFIG
    configure: tuple[str, ...] = CONFIGURE
    cflags: str = CFLAGS
    patches: tuple[Patch, ...] = PATCHES

    def key(self, version: str, source_digest: str) -> str:
        """12 hex digits that name this build: equal keys, interchangeable wheels.

        The distribution counts because the extension is linked with its libssl, libopus and libsrtp.
        """
        parts = (
            version,
            source_digest,
            self.config_site,
            *self.configure,
            self.cflags,
            *(patch.file + patch.before + patch.insert for patch in self.patches),
            sys.implementation.cache_tag or sys.implementation.name,
            sysconfig.get_platform(),
            distribution(),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def distribution() -> str:
    """`debian-12` or the like; the kernel's name where /etc/os-release is missing."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return f"{release.get('ID', 'linux')}-{release.get('VERSION_ID', 'rolling')}"
