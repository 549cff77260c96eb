"""The names of the log tags, as the parameter vsl_mask knows them.

Made by tools/genviews (``make docs``) from the tables: do not edit.
"""

from __future__ import annotations

VSL_TAGS: list[str] = [
    "Debug", "Error", "CLI", "SessOpen", "SessClose", "BackendOpen", "BackendClose", "BackendSSL", "TLS", "HttpGarbage",
    "Proxy", "ProxyGarbage", "Length", "FetchError", "ReqMethod", "ReqURL", "ReqProtocol", "ReqStatus", "ReqReason",
    "ReqHeader", "ReqUnset", "ReqLost", "RespMethod", "RespURL", "RespProtocol", "RespStatus", "RespReason",
    "RespHeader", "RespUnset", "RespLost", "BereqMethod", "BereqURL", "BereqProtocol", "BereqStatus", "BereqReason",
    "BereqHeader", "BereqUnset", "BereqLost", "BerespMethod", "BerespURL", "BerespProtocol", "BerespStatus",
    "BerespReason", "BerespHeader", "BerespUnset", "BerespLost", "ObjMethod", "ObjURL", "ObjProtocol", "ObjStatus",
    "ObjReason", "ObjHeader", "ObjUnset", "ObjLost", "BogoHeader", "LostHeader", "TTL", "Fetch_Body", "VCL_acl",
    "VCL_call", "VCL_trace", "VCL_return", "ReqStart", "Hit", "HitPass", "ExpBan", "ExpKill", "WorkThread",
    "ESI_xmlerror", "Hash", "Backend_health", "VCL_Log", "VCL_Error", "Gzip", "Link", "Begin", "End", "VSL", "Storage",
    "Timestamp", "ReqAcct", "PipeAcct", "BereqAcct", "VfpAcct", "Witness", "H2RxHdr", "H2RxBody", "H2TxHdr", "H2TxBody",
    "HitMiss", "Filters", "SessError", "VCL_use", "Notice", "VdpAcct", "ReqTarget",
]  # fmt: skip

# the default of vsl_mask
VSL_TAGS_MASKED = (
    "all"
    ",-Debug"
    ",-ExpKill"
    ",-H2RxBody"
    ",-H2RxHdr"
    ",-H2TxBody"
    ",-H2TxHdr"
    ",-Hash"
    ",-ObjHeader"
    ",-ObjProtocol"
    ",-ObjReason"
    ",-ObjStatus"
    ",-ReqTarget"
    ",-VdpAcct"
    ",-VfpAcct"
    ",-WorkThread"
)
