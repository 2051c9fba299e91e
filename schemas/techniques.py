"""Techniques of MITRE ATT&CK that labels name (:attr:`schemas.labels.Label.technique`): their names, and their pages.

Names as of ATT&CK for Enterprise (https://attack.mitre.org/techniques/enterprise/); a sub-technique stands behind its technique.
"""

from __future__ import annotations

NAMES: dict[str, str] = {
    "T1046": "Network Service Discovery",
    "T1048": "Exfiltration Over Alternative Protocol",
    "T1071.001": "Application Layer Protocol: Web Protocols",
    "T1071.004": "Application Layer Protocol: DNS",
    "T1110.001": "Brute Force: Password Guessing",
    "T1190": "Exploit Public-Facing Application",
    "T1498.001": "Network Denial of Service: Direct Network Flood",
    "T1499.002": "Endpoint Denial of Service: Service Exhaustion Flood",
}


def url(technique: str) -> str:
    """Page of a technique.

    Examples
    --------
    >>> url("T1498.001")
    'https://attack.mitre.org/techniques/T1498/001/'
    """
    return f"https://attack.mitre.org/techniques/{technique.replace('.', '/')}/"
