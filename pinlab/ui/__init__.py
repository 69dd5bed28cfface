"""The Gradio app: one module a page. The only room that imports gradio."""
