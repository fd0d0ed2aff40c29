"""The page of `streamlit_dashboard.py`: Streamlit runs this file for each visitor."""

import os

import httpx
import streamlit as st

st.title("Tide table")
harbour = st.text_input("Harbour", "Roscoff")
hours = st.slider("Hours", min_value=6, max_value=48, value=24)
answer = httpx.get(f"{os.environ['TIDES_URL']}/height/{harbour}", params={"hours": hours})
answer.raise_for_status()
metres = answer.json()
st.metric(f"High water at {harbour}", f"{max(metres):.2f} m")
st.line_chart({"metres": metres})
